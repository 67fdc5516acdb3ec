"""The process that downloads one file from Hugging Face. Started as a script by `hub.py`.

stdin: `{"repo": "owner/name", "file": "... or empty", "folder": "/..."}`.
stdout: `{"path": "..."}` or `{"error": "...", "errno": number or null}`.
It runs by its path and imports nothing of pawl, so that no folder of the user can stand in for a module.
"""

import ctypes
import json
import re
import signal
import sys
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_NOT_ALONE = re.compile(r"-\d{5}-of-\d{5}\.gguf$|mmproj", re.IGNORECASE)
"""Files that are no model by themselves."""


def main() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    asked = json.load(sys.stdin)
    try:
        print(json.dumps({"path": str(download(asked["repo"], asked["file"], Path(asked["folder"])))}))
    except Exception as error:  # whatever the client says is the answer
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        print(json.dumps({"error": first, "errno": getattr(error, "errno", None)}))
        sys.exit(1)


def download(repo: str, file: str, folder: Path) -> Path:
    """Goes on behind what an earlier try has left; `hf_hub_download` itself would begin anew."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url, list_repo_files
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

    url = hf_hub_url(repo, file or choose(list_repo_files(repo)))
    about = get_hf_file_metadata(url, headers=build_hf_headers())
    # The tag is that of the content: what is left of an older version of the file is not used.
    path = folder / (re.sub(r"\W", "", about.etag or "") + ".part")
    path.touch()
    with path.open("r+b") as part:
        start = part.seek(0, 2)
        http_get(url, part, resume_size=start, headers=build_hf_headers(), expected_size=about.size)
    return path


def choose(files: list[str]) -> str:
    """The file to take of a repository: its only GGUF, else the 4-bit one of medium size."""
    found = [file for file in files if file.lower().endswith(".gguf") and not _NOT_ALONE.search(file)]
    medium = [file for file in found if "q4_k_m" in file.lower()]
    if len(found) != 1 and len(medium) != 1:
        raise ValueError(f"name one of its files: {', '.join(found)}" if found else "it holds no GGUF file")
    return (medium or found)[0]


if __name__ == "__main__":
    main()
