"""Kernels of notebooks that start as commands do in the suite: forked from a process that has imported everything."""

import json
from pathlib import Path

from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpecManager

from tests.cli.conftest import fork_server


def kernel_manager(folder: Path) -> AsyncKernelManager:
    """For a `NotebookClient`.

    Args:
        folder: where the kernel is described.
    """
    described = folder / "kernels/forked"
    described.mkdir(parents=True, exist_ok=True)
    words = [str(fork_server().python), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    content = {"argv": words, "display_name": "forked", "language": "python"}
    (described / "kernel.json").write_text(json.dumps(content))
    kinds = KernelSpecManager(kernel_dirs=[str(described.parent)], ensure_native_kernel=False)
    return AsyncKernelManager(kernel_name="forked", kernel_spec_manager=kinds)
