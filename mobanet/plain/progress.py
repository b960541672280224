"""How progress is worded, wherever it is told: `epoch 3 of 50: step 12 of 70, 2.50 steps/s, 23 s left`."""


def duration(seconds: float) -> str:
    """`42 s`, `3 min 5 s`, `2 h 10 min` or `1 d 3 h`."""
    # rounded before it is split, or 59.6 would be `60 s`
    whole = round(max(seconds, 0))
    for size, name, below, rest in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            more = whole % size // below
            return f"{whole // size} {name} {more} {rest}" if more else f"{whole // size} {name}"
    return f"{whole} s"


def counted(title: str, done: int, total: int | None) -> str:
    """`epoch 3 of 50`; the total may be unknown."""
    return f"{title} {done} of {total}" if total is not None and total > 0 else f"{title} {done}"


def pace(rate: float, units: str, left: float) -> str:
    """`2.50 steps/s, 23 s left`, where `left` is in units."""
    return f"{rate:.2f} {units}/s, {duration(left / rate)} left" if rate > 0 else f"0.00 {units}/s"
