#!/usr/bin/env python3
"""Builds a directory on a farm over HTTP, runs the image, follows the log and copies a file
that the run left. Needs Python 3.9 or newer, and no packages.

    export SLIPWAY_SERVER=https://farm.example.com SLIPWAY_TOKEN=...
    ./build.py DIRECTORY TAG OUTPUT >FILE
"""

import base64
import http.client
import io
import json
import os
import sys
import tarfile
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid

SERVER = os.environ["SLIPWAY_SERVER"].rstrip("/")
TOKEN = os.environ["SLIPWAY_TOKEN"]
TRIES = 10


def request(method, path, query=(), body=None, headers=None, timeout=120):
    """Sends a request once and returns the answer."""
    url = SERVER + path + ("?" + urllib.parse.urlencode(query, doseq=True) if query else "")
    headers = {"Authorization": "Bearer " + TOKEN, **(headers or {})}
    return urllib.request.urlopen(
        urllib.request.Request(url, data=body, headers=headers, method=method), timeout=timeout)


# What a connection that breaks looks like; URLError is one of OSError.
BROKEN = (OSError, http.client.HTTPException)


def pause(attempt, error):
    """Waits before another try, or raises what no other try will mend."""
    seconds = min(0.2 * 2 ** attempt, 10)
    if isinstance(error, urllib.error.HTTPError):
        if error.code not in (429, 502, 503, 504):
            problem = error.read().decode(errors="replace")
            raise SystemExit(f"{error.url}: {error.code} {problem}")
        seconds = max(seconds, int(error.headers.get("Retry-After") or 0))
    if attempt >= TRIES:
        raise error
    time.sleep(seconds)


def read(method, path, **kw):
    """Sends a request that may come twice until its answer is there, and returns the body."""
    attempt = 0
    while True:
        try:
            with request(method, path, **kw) as answer:
                return answer.read()
        except BROKEN as error:
            pause(attempt, error)
            attempt += 1


def submit(directory, **parameters):
    """Builds a directory. The key makes it one job, however often the request comes."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        tar.add(directory, arcname=".")
    query = {name.replace("_", "-"): value for name, value in parameters.items()}
    key = {"Idempotency-Key": str(uuid.uuid4()), "Content-Type": "application/x-tar"}
    return json.loads(read("POST", "/v1/build", query=query, body=packed.getvalue(), headers=key))


def events(answer):
    """Yields (name, id, data) of server-sent events. One that is cut off does not count."""
    name, place, data = "", "", []
    for line in answer:
        line = line.decode().rstrip("\r\n")
        field, _, value = line.partition(":")
        value = value[1:] if value.startswith(" ") else value
        if line == "":
            if name:
                yield name, place, "\n".join(data)
            name, place, data = "", "", []
        elif field == "event":
            name = value
        elif field == "id":
            place = value
        elif field == "data":
            data.append(value)


def follow(job, out):
    """Writes the log of a job to out until the job has ended, and returns it. After a break it
    goes on behind the last entry that came whole."""
    last, attempt = "", 0
    while True:
        headers = {"Accept": "text/event-stream"}
        if last:
            headers["Last-Event-ID"] = last
        try:
            # The server sends something every 15 seconds, also when nothing happens.
            with request("GET", f"/v1/jobs/{job}/logs", headers=headers, timeout=60) as answer:
                for name, place, data in events(answer):
                    attempt = 0
                    if name == "log":
                        entry = json.loads(data)
                        raw = entry.get("base64")
                        out.write(base64.b64decode(raw) if raw else entry.get("text", "").encode())
                        out.flush()
                        last = place
                    elif name == "done":
                        return json.loads(data)
            raise http.client.HTTPException("the log ended before the job did")
        except BROKEN as error:
            pause(attempt, error)
            attempt += 1


def main():
    if len(sys.argv) != 4:
        raise SystemExit("usage: build.py DIRECTORY TAG OUTPUT >FILE")
    _, directory, tag, output = sys.argv
    job = submit(directory, tag=tag, run="true", output_path=output)
    print("job", job["id"], file=sys.stderr)
    job = follow(job["id"], sys.stderr.buffer)
    result = job.get("result", {})
    if job["state"] != "succeeded":
        raise SystemExit(f"the job is {job['state']}: {json.dumps(result.get('failure'))}")
    print("image", result["image_id"], file=sys.stderr)
    path = urllib.parse.quote(output.lstrip("/"))
    sys.stdout.buffer.write(read("GET", f"/v1/jobs/{job['id']}/outputs/{path}"))


if __name__ == "__main__":
    main()
