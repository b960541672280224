"use strict";
(() => {
  const dialog = document.getElementById("enlarged");
  const image = document.getElementById("enlarged-image");
  const name = document.getElementById("enlarged-name");
  const stage = dialog.querySelector(".stage");
  const tiles = [...document.querySelectorAll(".panels")].map((row) => [...row.querySelectorAll(".enlarge")]);
  const all = tiles.flat();
  let at = 0;

  const show = (number) => {
    at = (number + all.length) % all.length;
    const from = all[at].querySelector("img");
    image.src = from.src;
    image.alt = from.alt;
    image.width = from.naturalWidth;
    image.height = from.naturalHeight;
    image.className = from.className;
    name.textContent = `${all[at].dataset.name} (${at + 1} of ${all.length})`;
  };

  // the same picture of the tile above or below, so that tiles can be compared
  const across = (direction) => {
    const row = tiles.findIndex((buttons) => buttons.includes(all[at]));
    const other = tiles[(row + direction + tiles.length) % tiles.length];
    show(all.indexOf(other[Math.min(tiles[row].indexOf(all[at]), other.length - 1)]));
  };

  const fit = (fitted) => {
    stage.classList.toggle("actual", !fitted);
    dialog.querySelector("[data-action=zoom]").textContent = fitted ? "1:1" : "Fit";
  };
  const zoom = () => fit(stage.classList.contains("actual"));

  const actions = {
    previous: () => show(at - 1),
    next: () => show(at + 1),
    zoom,
    close: () => dialog.close(),
  };
  const keys = {
    ArrowLeft: actions.previous,
    ArrowRight: actions.next,
    ArrowUp: () => across(-1),
    ArrowDown: () => across(1),
  };

  all.forEach((button, number) => {
    button.addEventListener("click", () => {
      fit(true);
      show(number);
      dialog.showModal();
    });
  });
  dialog.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button) actions[button.dataset.action]();
    else if (event.target === image) zoom();
    else if (event.target === stage) dialog.close();
  });
  dialog.addEventListener("keydown", (event) => {
    const action = keys[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  });
  dialog.addEventListener("close", () => all[at].focus());

  let touch = null;
  stage.addEventListener("touchstart", (event) => {
    touch = event.touches.length === 1 ? { x: event.touches[0].clientX, y: event.touches[0].clientY } : null;
  }, { passive: true });
  stage.addEventListener("touchend", (event) => {
    if (!touch || stage.classList.contains("actual")) return;
    const x = event.changedTouches[0].clientX - touch.x;
    const y = event.changedTouches[0].clientY - touch.y;
    touch = null;
    if (Math.abs(x) > 45 && Math.abs(x) > 2 * Math.abs(y)) (x < 0 ? actions.next : actions.previous)();
  });
})();
