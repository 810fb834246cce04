"""What was changed at one gateway holds at once at the other: desks, keys of several shops, links that were revoked."""

from tests.component.gateway.platform import Platform, shop_body


async def test_a_desk_is_the_same_at_every_gateway_and_a_command_that_comes_late_is_told_where_its_item_is(
    platform: Platform,
) -> None:
    merchant_id, staff = await platform.shop()
    path = f"/v1/merchants/{merchant_id}/consultants"
    made = await staff.made(path, {"name": "Ada", "email": "ada@shop.example"})
    seen = await staff.get(f"{path}/{made['consultant_id']}", at=1)
    assert seen == made
    promised = await staff.post(path, {"name": "Bob", "email": "bob@shop.example"}, Prefer="respond-async")
    assert promised.status_code == 202
    while (outcome := await staff.get(promised.headers["location"]))["status"] == "pending":
        pass
    bob = await staff.get(outcome["result"]["href"], at=1)
    assert bob["name"] == "Bob"


async def test_a_link_that_was_revoked_at_one_gateway_opens_nothing_at_the_other(platform: Platform) -> None:
    merchant_id, staff = await platform.shop()
    order = await platform.order(merchant_id)
    link = await staff.made(f"/v1/orders/{order['order_id']}/links", {"for": "buyer"})
    bearer = platform.client(link["token"])
    path = f"/v1/orders/{order['order_id']}"
    assert (await bearer.ask("GET", path, at=1)).status_code == 200
    revoked = await staff.ask("DELETE", f"/v1/links/{link['link_id']}")
    assert revoked.status_code == 204
    for gateway in (0, 1):
        refused = await bearer.ask("GET", path, at=gateway)
        assert (refused.status_code, refused.json()["type"]) == (401, "/problems/unauthorized")
        page = await bearer.ask("GET", f"/l/{link['token']}", at=gateway)
        assert page.status_code == 404


async def test_staff_revokes_the_keys_of_its_one_shop_and_no_others(platform: Platform) -> None:
    merchant_id, staff = await platform.shop()
    other_id, _ = await platform.shop()
    keys = f"/v1/merchants/{merchant_id}/keys"
    both = await platform.agent.made("/v1/keys", {"name": "Kim", "role": "merchant", "merchants": [merchant_id, other_id]})
    given = await platform.agent.made("/v1/keys", {"name": "ERP", "role": "partner", "merchants": [merchant_id]})
    own = await staff.made(keys, {"name": "second"})
    for key in (both, given):
        assert (await staff.ask("DELETE", f"{keys}/{key['key_id']}")).status_code == 404
        assert (await platform.client(key["key"]).ask("GET", f"/v1/merchants/{merchant_id}", at=1)).status_code == 200
        put = await platform.client(key["key"]).ask("PUT", f"/v1/merchants/{merchant_id}", json=shop_body())
        assert (put.status_code, put.json()["type"]) == (403, "/problems/forbidden"), "what one sees is no 404"
    assert (await staff.ask("DELETE", f"{keys}/{own['key_id']}")).status_code == 204
    assert (await platform.client(own["key"]).ask("GET", f"/v1/merchants/{merchant_id}", at=1)).status_code == 401
