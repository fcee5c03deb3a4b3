"""JSON comes back as it was sent, value for value, or is refused: never something in between."""

from __future__ import annotations

import httpx
import pytest

from fastpaca.testing import composed, running
from tests.kit.app import create, error_of, everything, run
from tests.kit.requests import body_headers, send

JSON = {"Content-Type": "application/json"}

KEPT = [
    "1.0",
    "-0",
    "-0.0",
    "1E5",
    "1e400",
    "-1e-400",
    "1.10",
    "0.1000000000000000055511151231257827",
    str(2**70),
    "9" * 5000,
    '"\\u0000"',
    '"a\\u0000b"',
    '"\\ud83d\\ude00"',
    '"\ufdd0\uffff"',
    '"\U0010ffff"',
    '"\x7f"',
    '"\\/"',
    '{"b":1,"a":2,"B":3}',
    '{"":null}',
    '{"twice":1,"twice":2}',
    '[null,true,false,"",[],{}]',
]

REFUSED = [
    b"NaN",
    b"Infinity",
    b"-Infinity",
    b"01",
    b"+1",
    b".5",
    b"1.",
    b"0x10",
    b"'a'",
    b"True",
    b"undefined",
    b'"\\ud800"',
    b'"\\udc00\\ud800"',
    b'"\\x41"',
    b'"\n"',
    b'"\x00"',
    b'"\xff"',
    b'"\xc0\xaf"',
    b'"\xed\xa0\x80"',
    b'"\xf4\x90\x80\x80"',
    b'"\xc3"',
    b'{"\xff":1}',
    b"[1,]",
    b'{"a":1,}',
    b"[1 2]",
    b"/* */1",
    b"",
]


@pytest.mark.parametrize("value", KEPT, ids=range(len(KEPT)))
async def test_messages_come_back_as_sent(client: httpx.AsyncClient, value: str) -> None:
    """Numbers, keys, their order, and strings in a message are read back as the same text."""
    part = f'{{"type":"x","value":{value}}}'
    message = f'{{"role":"user","parts":[{part}],"metadata":{{"k":{value}}},"extra":{value}}}'
    await create(client)
    path = "/v1/contexts/c"
    for place, body in (
        ("messages", f'{{"message": {message}}}'),
        ("messages", f'{{"messages": [ {message} ]}}'),
        ("compact", f'{{"replacement": [{message}]}}'),
    ):
        sent = await client.post(f"{path}/{place}", content=body.encode(), headers=JSON)
        assert sent.status_code in (200, 201), sent.text
    for read in ("tail", "messages", "context"):
        found = (await client.get(f"{path}/{read}")).content.decode()
        assert message[1:-1] in found, read


@pytest.mark.parametrize("value", KEPT, ids=range(len(KEPT)))
async def test_metadata_of_a_context_comes_back_as_sent(
    client: httpx.AsyncClient, value: str
) -> None:
    """What is put or merged into the metadata of a context is read back as the same text."""
    put = f'{{"metadata": {{"k": {value}}}}}'.encode()
    await client.put("/v1/contexts/c", content=put, headers=JSON)
    patch = f'{{"metadata": {{"z": [{value}]}}}}'.encode()
    answer = await client.patch("/v1/contexts/c/metadata", content=patch, headers=JSON)
    assert answer.status_code == 200, answer.text
    expected = f'"metadata":{{"k":{value},"z":[{value}]}}'
    assert expected in answer.text
    assert expected in (await client.get("/v1/contexts/c")).text
    assert expected in (await client.get("/v1/contexts")).text


@pytest.mark.parametrize("value", REFUSED)
@pytest.mark.parametrize(
    "body",
    [
        b"%s",
        b'{"message":%s}',
        b'{"message":{"role":"user","parts":[{"type":"x","v":%s}]}}',
        b'{"message":{"role":"user","parts":[],"extra":[%s]}}',
        b'{"message":{"role":"user","parts":[],"seq":%s}}',
        b'{"id":%s,"message":{"role":"user","parts":[]}}',
    ],
    ids=["body", "message", "part", "extra", "ignored key", "echoed key"],
)
async def test_what_is_no_json_is_refused(body: bytes, value: bytes) -> None:
    """Text that is not JSON in UTF-8 is 400 wherever it stands, in fields that are skipped too."""
    if value == b"" and b'"extra"' in body:
        value = b","
    node = composed()
    async with running(node) as client:
        await create(client)
        before = await everything(client)
        content = body.replace(b"%s", value)
        if content:
            headers = body_headers(content)
            reply = await send(
                node.app, "POST", b"/v1/contexts/c/messages", headers=headers, pieces=[content]
            )
            assert (reply.status, reply.json()["error"]) == (400, "invalid_request")
        assert await everything(client) == before


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ('{"message":{"role":"a","parts":[]},"message":{"role":"b","parts":[]}}', "message"),
        ('{"messages":[],"m\\u0065ssages":[]}', "messages"),
        ('{"message":{"role":"a","parts":[]},"if_version":0,"if_version":1}', "if_version"),
        ('{"message":{"role":"a","role":"b","parts":[]}}', "message.role"),
        ('{"message":{"role":"a","r\\u006fle":"b","parts":[]}}', "message.role"),
        ('{"message":{"role":"a","parts":[],"parts":[]}}', "message.parts"),
        ('{"message":{"role":"a","parts":[],"metadata":{},"metadata":{}}}', "message.metadata"),
        ('{"message":{"role":"a","parts":[{"type":"a","type":"b"}]}}', "message.parts[0].type"),
        (
            '{"messages":[{"role":"a","parts":[{"type":"text","text":"a","text":"b"}]}]}',
            "messages[0].parts[0].text",
        ),
    ],
)
async def test_known_keys_may_not_stand_twice(
    client: httpx.AsyncClient, body: str, field: str
) -> None:
    """A key that is read here is given once; written with escapes it is the same key."""
    await create(client)
    path = "/v1/contexts/c/messages"
    answer = await client.post(path, content=body.encode(), headers=JSON)
    assert error_of(answer, 400, "invalid_request")["field"] == field


def nested(levels: int, inner: str = "1") -> str:
    """A value of so many levels of lists and objects in turn."""
    opening = "".join("[" if level % 2 else '{"a":' for level in range(levels))
    closing = "".join("]" if level % 2 else "}" for level in reversed(range(levels)))
    return opening + inner + closing


@pytest.mark.parametrize(
    ("message", "outer"),
    [
        ('{"role":"u","parts":[],"extra":%s}', 1),
        ('{"role":"u","parts":[],"metadata":%s}', 1),
        ('{"role":"u","parts":[{"type":"x","v":%s}]}', 3),
    ],
)
@pytest.mark.parametrize("wrapper", ['{"message":%s}', '{"messages":[%s]}'])
async def test_nesting_ends_at_128_levels(
    client: httpx.AsyncClient, message: str, outer: int, wrapper: str
) -> None:
    """A message of 128 levels is kept and read back; one of 129 is refused."""
    await create(client)
    path = "/v1/contexts/c/messages"
    deepest = message % nested(128 - outer, '"]}[{\\"\\\\"')
    body = (wrapper % deepest).encode()
    assert (await client.post(path, content=body, headers=JSON)).status_code == 201
    assert deepest[1:-1] in (await client.get("/v1/contexts/c/context")).text
    for levels in (129, 130, 500, 990, 1000, 5000, 100_000):
        body = (wrapper % (message % nested(levels - outer))).encode()
        answer = await client.post(path, content=body, headers=JSON)
        assert "128" in error_of(answer, 400, "invalid_request")["message"]


@pytest.mark.parametrize("levels", [129, 500, 990, 1000, 5000, 100_000])
@pytest.mark.parametrize(
    "body",
    [
        "%s",
        '{"metadata":%s}',
        '{"policy":%s}',
        '{"token_budget":%s}',
        '{"i\\u0064":%s}',
        '{"metadata":{"a":1,"\\u0061":%s}}',
    ],
)
def test_deep_bodies_are_refused_everywhere(body: str, levels: int) -> None:
    """No depth of nesting is too much for a 400, whatever field it stands in."""

    async def story(client: httpx.AsyncClient) -> None:
        content = (body % nested(levels)).encode()
        answer = await client.put("/v1/contexts/c", content=content, headers=JSON)
        if "i\\u0064" in body and answer.status_code == 201:
            return  # what is ignored may be as deep as a reader can follow
        error_of(answer, 400, "invalid_request")

    run(story)


async def test_white_space_around_values_goes(client: httpx.AsyncClient) -> None:
    """Insignificant white space is not kept; that inside of strings is."""
    body = (
        b'\r\n{ "message" : {\t"role":"u" , "parts":[ {"type":"x", "v" : [ 1 , " a  b " ] } ] }}\n'
    )
    await create(client)
    sent = await client.post("/v1/contexts/c/messages", content=body, headers=JSON)
    assert sent.status_code == 201
    assert '{"type":"x","v":[1," a  b "]}' in (await client.get("/v1/contexts/c/tail")).text


async def test_integers_of_the_api_end_where_json_readers_do(client: httpx.AsyncClient) -> None:
    """2^53-1 is the largest token count and budget; larger ones and other spellings are refused."""
    largest = 2**53 - 1
    put = await client.put("/v1/contexts/c", json={"token_budget": largest})
    assert put.json()["token_budget"] == largest
    for value in ("9007199254740992", "1e3", "8000.0", "1" * 400, "-1", "0"):
        body = f'{{"token_budget":{value}}}'.encode()
        answer = await client.put("/v1/contexts/c", content=body, headers=JSON)
        assert error_of(answer, 400, "invalid_request")["field"] == "token_budget"
    message = {"role": "user", "parts": [], "token_count": largest}
    sent = await client.post("/v1/contexts/c/messages", json={"message": message})
    assert sent.json()["token_estimate"] == largest


NUMBERS = [
    *(("trigger_ratio", value) for value in ("1", "1.0", "0.5", "1e-3", "0.70")),
    *(("token_factor", value) for value in ("1", "10", "1.25", "10.0", "1e-3")),
]


@pytest.mark.parametrize(("field", "value"), NUMBERS)
async def test_ratios_and_factors_are_numbers_in_their_range(
    client: httpx.AsyncClient, field: str, value: str
) -> None:
    """A ratio is at most 1 and a factor at most 10; integers are fine."""
    body = f'{{"{field}":{value}}}'.encode()
    answer = await client.put("/v1/contexts/c", content=body, headers=JSON)
    assert answer.json()[field] == float(value)


NO_NUMBERS = ["0", "-0.1", "1e400", "1e-400", "true", '"1"', "null"]
REFUSED_NUMBERS = [
    *(("trigger_ratio", value) for value in ("1.0000001", "2", *NO_NUMBERS)),
    *(("token_factor", value) for value in ("10.000001", "11", *NO_NUMBERS)),
]


@pytest.mark.parametrize(("field", "value"), REFUSED_NUMBERS)
async def test_other_ratios_and_factors_are_refused(
    client: httpx.AsyncClient, field: str, value: str
) -> None:
    """Booleans, strings, null and numbers out of range are refused, and no context is made."""
    body = f'{{"{field}":{value}}}'.encode()
    answer = await client.put("/v1/contexts/c", content=body, headers=JSON)
    assert error_of(answer, 400, "invalid_request")["field"] == field
    assert (await client.get("/v1/contexts/c")).status_code == 404


async def test_quoting_a_huge_key_is_quick_and_short() -> None:
    """An unknown key of megabytes is refused at once, and not repeated in full."""
    node = composed()
    key = b"k" * 3_000_000
    async with running(node):
        for path, body in (
            (b"/v1/contexts/c", b'{"%b":1}' % key),
            (b"/v1/contexts/c", b'{"policy":{"strategy":"%b"}}' % key),
            (b"/v1/contexts/c", b'{"policy":{"strategy":"last_n","config":{"%b":1}}}' % key),
            (b"/v1/contexts/c", b'{"%b":1,"%b":1}' % (key, key)),
        ):
            headers = body_headers(body)
            reply = await send(node.app, "PUT", path, headers=headers, pieces=[body])
            assert reply.status == 400
            assert len(reply.body) < 2000
