"""The download of the published reward model, from a server on this machine."""

import hashlib
import http.server
import re
import threading

import pytest

from reward_model.download import download, require_https
from summarize_rlhf import UserError

CONTENT = bytes(range(256)) * 4096  # 1 MiB
PATH = "CarperAI/openai_summarize_tldr_rm_checkpoint/resolve/main/pytorch_model.bin"


class Server(http.server.BaseHTTPRequestHandler):
    """Serves CONTENT with ranges; ends the connection after `stop_after` bytes; may redirect or hide the length."""

    def do_GET(self):
        state = self.server.state
        state["requests"].append(dict(self.headers))
        if state.get("redirect"):
            self.send_response(302)
            self.send_header("Location", state["redirect"])
            self.send_header("X-Linked-Etag", state.get("linked", '"no hash"'))
            self.end_headers()
            return
        if not self.path.endswith(PATH):
            self.send_error(404)
            return
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        begin = int(asked[1]) if asked and self.headers["If-Range"] == state["etag"] else 0
        if begin >= len(CONTENT):
            self.send_error(416)
            return
        self.send_response(206 if begin else 200)
        if state["etag"]:
            self.send_header("ETag", state["etag"])
        if not state.get("hide_length"):
            self.send_header("Content-Length", str(len(CONTENT) - begin))
        self.end_headers()
        self.wfile.write(CONTENT[begin : state["stop_after"]])

    def log_message(self, *args):
        pass


@pytest.fixture
def site():
    served = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    served.state = {"etag": '"one"', "stop_after": None, "requests": []}
    thread = threading.Thread(target=served.serve_forever, args=(0.01,))
    thread.start()
    served.base = f"http://127.0.0.1:{served.server_port}"
    served.url = f"{served.base}/{PATH}"
    yield served
    served.shutdown()
    thread.join()
    served.server_close()


def names(directory):
    return {path.name for path in directory.iterdir()}


def test_the_command_writes_where_stage_3_looks(server, site, tmp_path):
    command = ["--base_url", site.base, "--output_dir", tmp_path / "rm"]
    first = server.run("download", command, tmp_path)
    assert first.code == 0, first.err
    assert (tmp_path / "rm" / "pytorch_model.bin").read_bytes() == CONTENT
    assert names(tmp_path / "rm") == {"pytorch_model.bin"}
    again = server.run("download", command, tmp_path)
    assert "already there" in again.out
    assert len(site.state["requests"]) == 1
    (tmp_path / "rm" / "run.json").write_text("{}")
    refused = server.run("download", command, tmp_path)
    assert refused.code == 2
    assert "trained here" in refused.error


def test_an_interrupted_download_looks_unfinished_and_goes_on(site, tmp_path):
    target = tmp_path / "pytorch_model.bin"
    site.state["stop_after"] = 700_000
    with pytest.raises(UserError, match=r"700000 of 1048576 bytes; run the command again to go on"):
        download(site.url, target)
    assert names(tmp_path) == {"pytorch_model.bin.part", "pytorch_model.bin.part.etag"}
    site.state["stop_after"] = None
    download(site.url, target)
    assert target.read_bytes() == CONTENT
    assert names(tmp_path) == {"pytorch_model.bin"}
    assert site.state["requests"][1]["Range"] == "bytes=700000-"


@pytest.mark.parametrize("said_by", ["the Hub", "the user"])
def test_the_hash_is_checked(site, tmp_path, said_by):
    """The Hub announces it where it redirects to its file servers; a user may know it from elsewhere."""
    right, wrong = hashlib.sha256(CONTENT).hexdigest(), "0" * 64
    other = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    other.state = {"redirect": site.url, "requests": []}
    threading.Thread(target=other.serve_forever).start()
    url, file = f"http://127.0.0.1:{other.server_port}/x", tmp_path / "file"

    def fetch(expected: str) -> None:
        other.state["linked"] = f'"{expected if said_by == "the Hub" else right}"'
        download(url, file, sha256=expected if said_by == "the user" else None)

    try:
        with pytest.raises(UserError, match=f"SHA-256 {right} instead of {wrong}; it was removed"):
            fetch(wrong)
        assert names(tmp_path) == set()
        fetch(right)
        assert names(tmp_path) == {"file"}
    finally:
        other.shutdown()
        other.server_close()


def test_another_version_is_fetched_from_the_start(site, tmp_path):
    """Fails without If-Range: the file would be half of one version and half of the other."""
    target = tmp_path / "pytorch_model.bin"
    (tmp_path / "pytorch_model.bin.part").write_bytes(b"another version")
    (tmp_path / "pytorch_model.bin.part.etag").write_text('"zero"')
    download(site.url, target)
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize("etag", [None, 'W/"one"'])
def test_without_a_version_it_starts_anew(site, tmp_path, etag):
    target = tmp_path / "pytorch_model.bin"
    site.state |= {"etag": etag, "stop_after": 5000}
    with pytest.raises(UserError, match="ended after 5000"):
        download(site.url, target)
    site.state["stop_after"] = None
    download(site.url, target)
    assert target.read_bytes() == CONTENT
    assert "Range" not in site.state["requests"][1]


def test_a_part_longer_than_the_file_is_removed(site, tmp_path):
    (tmp_path / "pytorch_model.bin.part").write_bytes(CONTENT + b"more")
    (tmp_path / "pytorch_model.bin.part.etag").write_text('"one"')
    with pytest.raises(UserError, match="was longer than the file"):
        download(site.url, tmp_path / "pytorch_model.bin")
    download(site.url, tmp_path / "pytorch_model.bin")
    assert names(tmp_path) == {"pytorch_model.bin"}


@pytest.mark.parametrize(
    ("state", "path", "message"),
    [
        ({}, "/missing", "the server answered 404"),
        ({"hide_length": True}, "", "does not say how long the file is"),
        ({"redirect": "http://192.0.2.1/model"}, "", r"refusing to download from http://192\.0\.2\.1.*https"),
    ],
)
def test_bad_answers_leave_nothing_that_looks_whole(site, tmp_path, state, path, message):
    site.state |= state
    with pytest.raises(UserError, match=message):
        download(site.url + path, tmp_path / "pytorch_model.bin")
    assert names(tmp_path) == set()


def test_no_server_and_no_space(site, tmp_path, monkeypatch):
    with pytest.raises(UserError, match=r"failed .*run the command again"):
        download("http://127.0.0.1:9/file", tmp_path / "file")
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 1000}))
    with pytest.raises(UserError, match="GB free"):
        download(site.url, tmp_path / "file")
    assert names(tmp_path) == set()


@pytest.mark.parametrize(
    "url", ["http://huggingface.co/x", "ftp://127.0.0.1/x", "file:///etc/hosts", "http://127.0.0.1.evil.org/x"]
)
def test_only_https_or_this_machine(url):
    with pytest.raises(UserError, match="only https is safe"):
        require_https(url)
