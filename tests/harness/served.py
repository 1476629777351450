"""An OpenAI-compatible server around the shipped model, with faults on demand."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import repeat
from typing import Any, Final

from harness.builtin import MODEL_DIR

#: Answers without an end: how they begin, and what then comes again and again.
DRIPS: Final = {
    "slow status": (b"H", b"T"),
    "slow header": (b"HTTP/1.1 200 OK\r\nX: ", b"x"),
    "headers": (b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"),
    "continue": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "chunks": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
}


class Server(ThreadingHTTPServer):
    """Answers with greedy transformers. ``faults`` are what the next requests get instead, in order."""

    daemon_threads = True

    def __init__(self) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        torch.set_num_threads(1)
        self.model = AutoModelForCausalLM.from_pretrained(MODEL_DIR)
        self.tokenizer = AutoTokenizer.from_pretrained(MODEL_DIR)
        self.lock = threading.Lock()
        self.faults: list[str] = []
        self.answered: list[dict[str, Any]] = []
        """Bodies of the requests that got a completion."""
        self.admitted = 0
        """Requests that will get a completion; counted before they do, since several are under way at once."""
        self.failed = 0
        self.good_until: int | None = None
        """Completions after which every request fails."""
        self.keys: list[str | None] = []
        self.about: dict[str, Any] = {"id": "shipped"}
        """What ``/v1/models`` says of the model."""
        self.penalty = 1.0
        """What it divides the logits of tokens that were there before by, if the request does not say."""
        self.is_strict = False
        """Whether it refuses words that OpenAI does not have."""
        self.takes_ids = True
        self.refused = 0
        """Requests with token ids, where it takes none."""
        self.puts_first: list[int] = []
        """What it writes before a text by itself."""
        self.counts = True
        """Whether it says how many tokens it reads."""
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def fault(self) -> str | None:
        """What goes wrong with this request, if anything."""
        with self.lock:
            if self.good_until is not None and self.admitted >= self.good_until:
                self.failed += 1
                return "503"
            fault = self.faults.pop(0) if self.faults else None
            self.admitted += fault is None
            return fault

    def complete(self, body: dict[str, Any]) -> dict[str, Any]:
        import torch

        ids = body.get("prompt")
        if isinstance(ids, str):
            ids = self.puts_first + self.tokenizer(ids)["input_ids"]
        if ids is None:
            ids = self.tokenizer.apply_chat_template(body["messages"], add_generation_prompt=True, return_dict=False)
        with self.lock, torch.inference_mode():
            settings = {"do_sample": False, "repetition_penalty": float(body.get("repeat_penalty", self.penalty))}
            output = self.model.generate(torch.tensor([ids]), max_new_tokens=body["max_tokens"], **settings)[0, len(ids) :].tolist()
            self.answered.append(body)
        ended = output[-1] == self.tokenizer.eos_token_id
        text = self.tokenizer.decode(output, skip_special_tokens=True)
        choice: dict[str, Any] = {"finish_reason": "stop" if ended else "length"}
        choice |= {"text": text} if "prompt" in body else {"message": {"role": "assistant", "content": text}}
        usage = {"usage": {"prompt_tokens": len(ids), "completion_tokens": len(output)}} if self.counts else {}
        return {"choices": [choice], **usage}


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send(200, json.dumps({"object": "list", "data": [self.server.about]}).encode())

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.keys.append(self.headers.get("Authorization"))
        if isinstance(body.get("prompt"), list) and not self.server.takes_ids:
            self.server.refused += 1
            self.send(500, b'{"error": {"message": "[{\'type\': \'string_type\'}]"}}')
            return
        if self.server.is_strict and "repeat_penalty" in body:
            self.server.refused += 1
            self.send(400, b'{"error": {"message": "Unrecognized request argument supplied: repeat_penalty"}}')
            return
        fault = self.server.fault()
        if fault is None:
            self.send(200, json.dumps(self.server.complete(body)).encode())
        elif fault == "drop":
            self.close_connection = True
            self.connection.close()
        elif fault == "stall":
            time.sleep(3)
            self.close_connection = True
        elif fault == "trickle":
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            for _ in range(30):
                try:
                    self.wfile.write(b" ")
                    self.wfile.flush()
                except OSError:
                    break
                time.sleep(0.1)
            self.close_connection = True
        elif fault in DRIPS:
            self.drip(*DRIPS[fault])
        elif fault == "garbage":
            self.send(200, b"<html>\x1b[31mproxy</html>")
        elif fault == "no choices":
            self.send(200, b'{"choices": []}')
        elif fault == "cut":
            answer = self.server.complete({**body, "prompt": body["prompt"][-50:]})
            self.send(200, json.dumps(answer).encode())
        else:
            status, _, code = fault.partition(" ")
            self.send(int(status), json.dumps({"error": {"message": "as asked", "code": code}}).encode())

    def drip(self, first: bytes, more: bytes) -> None:
        """Send a part every tenth of a second, for as long as somebody reads or ten seconds."""
        for part in (first, *repeat(more, 100)):
            try:
                self.wfile.write(part)
                self.wfile.flush()
            except OSError:
                break
            time.sleep(0.1)
        self.close_connection = True

    def send(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def serving(kind: type[Server] = Server) -> Iterator[Server]:
    """A server, up for the length of the block."""
    server = kind()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
