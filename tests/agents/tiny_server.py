"""A server that tests start in vllm's place: it answers as told, and fails as told.

    python tiny_server.py NOTES MODE... -- flags as vllm's

NOTES is a folder: each start leaves its process ids there. MODE, one a start, the last for all further ones: well;
refuse (ends at once, with words); mute (answers /health and nothing else); busy (as mute, and its counters rise);
die (ends after two completions). Each start has a child of its own that ignores SIGTERM and leads a session.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"


class Answers(BaseHTTPRequestHandler):
    mode = "well"
    completions = 0

    def do_GET(self) -> None:
        if self.path == "/metrics" and self.mode == "busy":
            self.send(f'# HELP\nvllm:generation_tokens_total{{x="y"}} {time.monotonic()}\n')
        elif self.path == "/health":
            self.send("")
        else:
            self.send_error(404)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.mode in ("mute", "busy"):
            time.sleep(600)
        Answers.completions += 1
        self.send(json.dumps({"choices": [{"text": f"{body['model']}: {os.getpid()}"}]}))
        if self.mode == "die" and Answers.completions == 2:
            print("RuntimeError: the engine core is dead", flush=True)
            os._exit(7)

    def send(self, text: str) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


def main() -> None:
    own, flags = sys.argv[1 : sys.argv.index("--")], sys.argv[sys.argv.index("--") + 1 :]
    parser = argparse.ArgumentParser()
    parser.add_argument("--host")
    parser.add_argument("--port", type=int)
    chosen, _ = parser.parse_known_args(flags)
    notes, modes = Path(own[0]), own[1:]
    started = len(list(notes.glob("*.pids")))
    stubborn = subprocess.Popen([sys.executable, "-c", STUBBORN], start_new_session=True)
    (notes / f"{started}.pids").write_text(f"{os.getpid()} {stubborn.pid}", encoding="utf-8")
    Answers.mode = modes[min(started, len(modes) - 1)]
    if Answers.mode == "refuse":
        print("(EngineCore pid=7) ERROR 11-21 03:00:00 [core.py:1] ValueError: no room for the model", flush=True)
        print("RuntimeError: Engine core initialization failed. See root cause above.", flush=True)
        sys.exit(3)
    ThreadingHTTPServer((chosen.host, chosen.port), Answers).serve_forever()


if __name__ == "__main__":
    main()
