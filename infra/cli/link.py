"""`floodway link`: where the buyer of an order sees it."""

from infra.cli.context import out, print_json
from infra.cli.remark import known
from streams.errors import SettingsError
from streams.finding import which_order


async def link(order: str, *, base: str | None = None, json: bool = False) -> None:
    """Make a link for the buyer of an order: whoever has it sees this order's timeline and nothing else.

    Signed with FLOODWAY_HTTP_LINK_KEYS, which the front has to have, too; good for FLOODWAY_HTTP_LINK_DAYS.

    Parameters
    ----------
    order
        The order's id, `channel:submission_id`, `channel:number` with the channel's own number, or its trace id.
    base
        What it begins with: how buyers reach the front. FLOODWAY_HTTP_PUBLIC_URL by default, else where the front
        listens on this machine.
    json
        Print one JSON object.

    """
    from agents.http.links import NO_KEY, Links  # noqa: PLC0415 - what is behind them takes a moment to import
    from agents.http.settings import load_http  # noqa: PLC0415
    from streams.clock import SystemClock  # noqa: PLC0415

    front = load_http()
    links = Links(front, SystemClock())
    if not links.has_keys:
        raise SettingsError(f"{NO_KEY[0].upper()}{NO_KEY[1:]}.")
    decision = await known(which_order(order), order)
    here = f"{'https' if front.tls_cert_file else 'http'}://{front.host}:{front.port}"
    made = links.make(decision.order_id, base=base or front.public_url or here)
    if json:
        print_json({"order_id": str(made.order_id), "url": made.url, "expires_at": made.expires_at})
    else:
        out.print(made.url)
