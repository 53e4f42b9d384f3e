"""A plain export of a school's calls to Parquet: the baseline that `make bench` compares telelake with.

It is written as a good engineer writes such a script: asyncio with a bound on the requests in flight, a fast HTTP client
and JSON parser, every room asked as soon as the list names it, every report fetched as soon as its call is known, tables
written column by column by pyarrow. It keeps nothing between two runs, has no manifest, and writes only two tables.

At the end it prints the wall time, the processor time, the peak memory and the number of requests as JSON.
"""

import argparse
import asyncio
import json
import os
import resource
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime, timedelta, timezone

import aiohttp
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

PAGE = 100
ATTEMPTS = 5

TIME = pa.timestamp("us", tz="UTC")
TEXTS = pa.map_(pa.string(), pa.string())
STAY = pa.struct([("joined_at", TIME), ("left_at", TIME)])
CALL = pa.schema(
    [
        ("space_id", pa.string()), ("call_id", pa.string()), ("space_name", pa.string()), ("room_id", pa.string()),
        ("room_name", pa.string()), ("room_alias", pa.string()), ("room_type", pa.string()),
        ("is_breakout_room", pa.bool_()), ("plan_alias", pa.string()), ("participants_count", pa.int64()),
        ("total_participants_count", pa.int64()), ("unique_participants_count", pa.int64()), ("started_at", TIME),
        ("finished_at", TIME), ("duration_s", pa.float64()), ("external_meeting_ids", pa.list_(pa.string())),
        ("report_json", pa.string()),
    ]
)
LESSON = [
    ("user_fullname", pa.string()), ("user_role", pa.string()), ("lesson_name", pa.string()),
    ("lesson_scheduled_start_at", TIME), ("lesson_scheduled_end_at", TIME), ("lesson_course_id", pa.string()),
    ("lesson_course_name", pa.string()), ("student_group_id", pa.string()), ("student_group_name", pa.string()),
    ("attributes", TEXTS),
]
PARTICIPANT = pa.schema(
    [
        ("space_id", pa.string()), ("space_name", pa.string()), ("room_id", pa.string()), ("room_name", pa.string()),
        ("call_id", pa.string()), ("call_started_at", TIME), ("call_finished_at", TIME), ("participant_id", pa.string()),
        ("name", pa.string()), ("role", pa.string()), ("email", pa.string()), ("phone", pa.string()),
        ("external_user_id", pa.string()), ("external_meeting_id", pa.string()), ("first_joined_at", TIME),
        ("last_left_at", TIME), ("sessions", pa.list_(STAY)), ("sessions_count", pa.int64()),
        ("duration_s", pa.float64()), ("camera_s", pa.float64()), ("microphone_s", pa.float64()),
        ("screen_s", pa.float64()), ("messages_count", pa.int64()), ("reactions_count", pa.int64()),
        ("hand_raises_count", pa.int64()), ("meta_matched", pa.bool_()), *LESSON, ("late_s", pa.float64()),
    ]
)


class Api:
    """The vendor's API, with at most `in_flight` requests at once."""

    def __init__(self, session, base, in_flight):
        self.session, self.base, self.gate, self.requests = session, base, asyncio.Semaphore(in_flight), 0

    async def get(self, path, **query):
        """The body of an answer. A failure that may pass is tried again."""
        for attempt in range(1, ATTEMPTS + 1):
            async with self.gate:
                self.requests += 1
                try:
                    async with self.session.get(self.base + path, params=query) as answer:
                        if answer.status == 404:
                            return None
                        answer.raise_for_status()
                        return await answer.read()
                except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, aiohttp.ClientResponseError) as error:
                    passes = getattr(error, "status", 503) in (408, 429, 500, 502, 503, 504)
                    if attempt == ATTEMPTS or not passes:
                        raise
            await asyncio.sleep(0.2 * 2**attempt)

    async def pages(self, path, **query):
        """The items of a list, page by page; a short page is the last."""
        offset = 0
        while True:
            items = orjson.loads(await self.get(path, limit=PAGE, offset=offset, **query))["items"]
            yield items
            if len(items) < PAGE:
                return
            offset += PAGE


class Folder:
    """A lake in a folder."""

    def __init__(self, root):
        self.root, self.made = root, set()

    async def put(self, key, data):
        path = os.path.join(self.root, key)
        folder = os.path.dirname(path)
        if folder not in self.made:
            os.makedirs(folder, exist_ok=True)
            self.made.add(folder)
        with open(path, "wb") as file:
            file.write(data)


class Bucket:
    """A lake in a bucket. Threads send the objects, because pyarrow's client blocks; it needs less time than boto3."""

    def __init__(self, url, threads):
        from pyarrow.fs import S3FileSystem

        # A small object is sent by one request, when it is closed.
        self.client = S3FileSystem(endpoint_override=os.environ.get("S3_ENDPOINT"), allow_delayed_open=True)
        self.root, self.threads = url.removeprefix("s3://"), ThreadPoolExecutor(threads)

    async def put(self, key, data):
        def send():
            with self.client.open_output_stream(f"{self.root}/{key}") as object:
                object.write(data)

        await asyncio.get_running_loop().run_in_executor(self.threads, send)


def instant(text):
    """An instant of the API as a datetime in UTC."""
    return datetime.fromisoformat(text.replace("Z", "+00:00")) if text else None


def planned(text):
    """A time of the lesson data, which has no zone: it counts as UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=timezone.utc) if text else None


def read_lessons(folder):
    """The lesson data of all files of the feed, by meeting and user; the latest line wins."""
    lessons = {}
    for name in sorted(os.listdir(folder)):
        with open(os.path.join(folder, name), "rb") as file:
            for line in file:
                entry = orjson.loads(line)
                lessons[entry["externalMeetingId"], entry["externalUserId"]] = entry["meta"]
    return lessons


NAMED = {
    "user_fullname", "user_role", "lesson_name", "lesson_scheduled_start_dt", "lesson_scheduled_end_dt",
    "student_group_id", "student_group_name", "lesson_course_id", "lesson_course_name",
}


def lesson_columns(meta):
    """The columns of a lesson's data. Nested objects are flattened; values without a column go to `attributes`."""
    flat, others = {}, []

    def flatten(path, fields):
        for name, value in fields.items():
            if isinstance(value, dict):
                flatten(f"{path}{name}.", value)
            elif name in NAMED:
                flat[name] = value
            elif value is not None:
                others.append((path + name, str(value)))

    flatten("", meta)
    flat["lesson_scheduled_start_at"] = planned(flat.pop("lesson_scheduled_start_dt", None))
    flat["lesson_scheduled_end_at"] = planned(flat.pop("lesson_scheduled_end_dt", None))
    flat["attributes"] = others
    return flat


def seconds_in(stays, end):
    """The length of stays, of which some may overlap and some may be open."""
    total, until = 0.0, None
    for joined, left in stays:
        left = left or end
        if until is not None and joined < until:
            joined = until
        if left > joined:
            total += (left - joined).total_seconds()
            until = left
    return total


def participant_row(call, person, lessons):
    stays = sorted(
        ((instant(stay["joinedAt"]), instant(stay["leftAt"])) for stay in person.get("sessions") or ()),
        key=lambda stay: stay[0],
    )
    end = call["finished_at"]
    user, meeting = person.get("externalUserId"), person.get("externalMeetingId")
    row = {
        "space_id": call["space_id"], "space_name": call["space_name"], "room_id": call["room_id"],
        "room_name": call["room_name"], "call_id": call["call_id"], "call_started_at": call["started_at"],
        "call_finished_at": end, "participant_id": person["id"], "name": person.get("name"), "role": person.get("role"),
        "email": person.get("email"), "phone": person.get("phone"), "external_user_id": user,
        "external_meeting_id": meeting, "first_joined_at": stays[0][0] if stays else None,
        "last_left_at": max(left or end for _, left in stays) if stays else None,
        "sessions": [{"joined_at": joined, "left_at": left} for joined, left in stays], "sessions_count": len(stays),
        "duration_s": seconds_in(stays, end), "camera_s": person.get("cameraSeconds"),
        "microphone_s": person.get("microphoneSeconds"), "screen_s": person.get("screenSeconds"),
        "messages_count": person.get("messagesCount"), "reactions_count": person.get("reactionsCount"),
        "hand_raises_count": person.get("handRaisesCount"), "meta_matched": False,
    }
    meta = lessons.get((meeting, user)) if user and meeting else None
    if meta is not None:
        row["meta_matched"] = True
        row.update(lesson_columns(meta))
    return row


def call_row(space, room, call):
    started, finished = instant(call["startedAt"]), instant(call.get("finishedAt"))
    return {
        "space_id": space["id"], "space_name": space["name"], "call_id": call["id"], "room_id": room["id"],
        "room_name": room["name"], "room_alias": room.get("alias"), "room_type": call.get("roomType"),
        "is_breakout_room": call.get("isBreakoutRoom"), "plan_alias": call.get("planAlias"),
        "participants_count": call.get("participantsCount"),
        "total_participants_count": call.get("totalParticipantsCount"),
        "unique_participants_count": call.get("uniqueParticipantsCount"), "started_at": started, "finished_at": finished,
        "duration_s": (finished - started).total_seconds() if finished else None,
    }


def add_lateness(rows):
    """Sets `late_s` in the row of each user's first join of a meeting."""
    first = {}
    for row in rows:
        key = row["external_meeting_id"], row["external_user_id"]
        if row["meta_matched"] and row["first_joined_at"] and row["lesson_scheduled_start_at"]:
            if key not in first or row["first_joined_at"] < first[key]["first_joined_at"]:
                first[key] = row
    for row in first.values():
        row["late_s"] = max(0.0, (row["first_joined_at"] - row["lesson_scheduled_start_at"]).total_seconds())


def parquet(rows, schema):
    columns = [pa.array([row.get(field.name) for row in rows], type=field.type) for field in schema]
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_arrays(columns, schema=schema), sink, compression="zstd")
    return sink.getvalue()


class Export:
    def __init__(self, api, lake, dates, asked, lessons):
        self.api, self.lake, self.dates, self.asked, self.lessons = api, lake, set(dates), asked, lessons
        self.calls, self.people, self.seen = defaultdict(list), defaultdict(list), set()

    async def run(self):
        spaces = [self.space(space) async for page in self.api.pages("/spaces") for space in page]
        await asyncio.gather(*spaces)
        files = [self.day(day) for day in self.calls]
        await asyncio.gather(*files)

    async def space(self, space):
        rooms = []
        async for page in self.api.pages(f"/spaces/{space['id']}/rooms"):
            # Tasks, so that the rooms of this page are asked while the next page comes.
            rooms += [asyncio.create_task(self.room_on(space, room, day)) for room in page for day in self.asked]
        await asyncio.gather(*rooms)

    async def room_on(self, space, room, day):
        path = f"/spaces/{space['id']}/analytics/calls"
        async for page in self.api.pages(path, roomId=room["id"], date=day.isoformat()):
            await asyncio.gather(*(self.call(space, room, call) for call in page))

    async def call(self, space, room, call):
        row = call_row(space, room, call)
        day = row["started_at"].date()
        if call["id"] in self.seen or day not in self.dates:
            return
        self.seen.add(call["id"])
        query = {"roomId": room["id"], "callId": call["id"], "format": "json"}
        data = await self.api.get(f"/spaces/{space['id']}/analytics/report", **query) if row["finished_at"] else None
        if data:
            row["report_json"] = f"raw/report/json/date={day}/{space['id']}/{call['id']}.json"
            await self.lake.put(row["report_json"], data)
            rows = [participant_row(row, person, self.lessons) for person in orjson.loads(data)["participants"]]
            row["external_meeting_ids"] = sorted({it["external_meeting_id"] for it in rows if it["external_meeting_id"]})
            self.people[day, space["id"]] += rows
        self.calls[day, space["id"]].append(row)

    async def day(self, of):
        day, space = of
        self.calls[of].sort(key=lambda row: (row["room_id"], row["started_at"], row["call_id"]))
        people = self.people[of]
        people.sort(key=lambda row: (row["room_id"], row["call_started_at"], row["call_id"], row["participant_id"]))
        add_lateness(people)
        for table, rows, schema in (("calls", self.calls[of], CALL), ("participants", people, PARTICIPANT)):
            if rows:
                await self.lake.put(f"{table}/date={day}/{space}.parquet", parquet(rows, schema))


async def export(options):
    lessons = read_lessons(options.lessons) if options.lessons else {}
    count = (options.to - options.since).days + 1
    dates = [options.since + timedelta(days=n) for n in range(count)]
    more = 1 if options.margin else 0
    asked = [options.since + timedelta(days=n) for n in range(-more, count + more)]
    s3 = options.lake.startswith("s3://")
    lake = Bucket(options.lake, options.in_flight) if s3 else Folder(options.lake)
    headers = {"Authorization": f"Bearer {os.environ['API_TOKEN']}"}
    connections = aiohttp.TCPConnector(limit=options.in_flight)
    async with aiohttp.ClientSession(connector=connections, headers=headers) as session:
        api = Api(session, options.api, options.in_flight)
        job = Export(api, lake, dates, asked, lessons)
        await job.run()
    return api.requests, len(job.seen), sum(map(len, job.people.values()))


def main():
    started = time.monotonic()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--api", required=True, help="the base URL; the token is in API_TOKEN")
    parser.add_argument("--lake", required=True, help="a folder or s3://BUCKET/PREFIX; the server is in S3_ENDPOINT")
    parser.add_argument("--from", dest="since", type=date.fromisoformat, required=True)
    parser.add_argument("--to", type=date.fromisoformat, required=True)
    parser.add_argument("--lessons", help="a folder of JSON Lines")
    parser.add_argument("--in-flight", type=int, default=16)
    parser.add_argument("--margin", action="store_true", help="also ask for the date before and the date after")
    requests, calls, participants = asyncio.run(export(parser.parse_args()))
    used = resource.getrusage(resource.RUSAGE_SELF)
    figures = {
        "wall": time.monotonic() - started,
        "cpu": used.ru_utime + used.ru_stime,
        "peak": used.ru_maxrss * 1024,
        "requests": requests,
        "calls": calls,
        "participants": participants,
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
