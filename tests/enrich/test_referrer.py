"""Where visits come from: referrers, UTM parameters and click ids to sources and channels.

Channels by support.google.com/analytics/answer/9756891, "[GA4] Default channel group".
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_middleware.enrich import sources
from analytics_middleware.enrich.referrer import MAX_QUERY, Attribution, attribute, site_of

SHOP = "https://shop.example/tea"

VISITS = [
    # (query, referrer) -> source, channel
    ("", None, None, "Direct"),
    ("", "", None, "Direct"),
    ("?page=2", None, None, "Direct"),
    ("", "https://www.google.com/", "Google", "Organic Search"),
    ("", "https://www.google.co.uk/", "Google", "Organic Search"),
    ("", "https://google.com.au/url?q=x", "Google", "Organic Search"),
    ("", "https://news.google.com/", "Google", "Organic Search"),
    ("", "android-app://com.google.android.googlequicksearchbox/", "Google", "Organic Search"),
    ("", "https://www.bing.com/", "Bing", "Organic Search"),
    ("", "https://duckduckgo.com/", "DuckDuckGo", "Organic Search"),
    ("", "https://uk.search.yahoo.com/", "Yahoo!", "Organic Search"),
    ("", "https://yandex.ru/", "Yandex", "Organic Search"),
    ("", "https://www.baidu.com/", "Baidu", "Organic Search"),
    ("", "https://m.baidu.com/", "Baidu", "Organic Search"),
    ("", "https://search.brave.com/", "Brave", "Organic Search"),
    ("", "https://www.ecosia.org/", "Ecosia", "Organic Search"),
    ("", "https://lite.qwant.com/", "Qwant", "Organic Search"),
    ("", "https://kagi.com/", "Kagi", "Organic Search"),
    ("", "https://l.facebook.com/", "Facebook", "Organic Social"),
    ("", "http://m.facebook.com/", "Facebook", "Organic Social"),
    ("", "https://l.instagram.com/", "Instagram", "Organic Social"),
    ("", "https://t.co/abc", "X (Twitter)", "Organic Social"),
    ("", "https://x.com/", "X (Twitter)", "Organic Social"),
    ("", "https://www.linkedin.com/", "LinkedIn", "Organic Social"),
    ("", "android-app://com.linkedin.android/", "LinkedIn", "Organic Social"),
    ("", "https://lnkd.in/", "LinkedIn", "Organic Social"),
    ("", "https://old.reddit.com/r/tea", "Reddit", "Organic Social"),
    ("", "https://www.pinterest.de/", "Pinterest", "Organic Social"),
    ("", "https://news.ycombinator.com/", "Hacker News", "Organic Social"),
    ("", "https://go.bsky.app/", "Bluesky", "Organic Social"),
    ("", "https://web.telegram.org/", "Telegram", "Organic Social"),
    ("", "https://www.youtube.com/", "YouTube", "Organic Video"),
    ("", "https://youtu.be/", "YouTube", "Organic Video"),
    ("", "https://vimeo.com/", "Vimeo", "Organic Video"),
    ("", "https://www.twitch.tv/", "Twitch", "Organic Video"),
    ("", "https://www.amazon.co.uk/", "Amazon", "Organic Shopping"),
    ("", "https://www.ebay.com.au/", "eBay", "Organic Shopping"),
    ("", "https://www.etsy.com/", "Etsy", "Organic Shopping"),
    ("", "https://shopping.google.com/", "Google Shopping", "Organic Shopping"),
    ("", "https://chatgpt.com/", "ChatGPT", "AI Assistants"),
    ("", "https://chat.openai.com/", "ChatGPT", "AI Assistants"),
    ("", "https://claude.ai/", "Claude", "AI Assistants"),
    ("", "https://gemini.google.com/", "Gemini", "AI Assistants"),
    ("", "https://www.perplexity.ai/", "Perplexity", "AI Assistants"),
    ("", "https://copilot.microsoft.com/", "Copilot", "AI Assistants"),
    ("", "https://grok.com/", "Grok", "AI Assistants"),
    ("", "https://chat.deepseek.com/", "DeepSeek", "AI Assistants"),
    ("?utm_source=chatgpt.com", None, "ChatGPT", "AI Assistants"),
    ("?utm_source=perplexity", "https://www.perplexity.ai/", "Perplexity", "AI Assistants"),
    ("", "https://mail.google.com/", "Gmail", "Email"),
    ("", "android-app://com.google.android.gm/", "Gmail", "Email"),
    ("", "https://outlook.live.com/", "Outlook", "Email"),
    ("", "https://mail.yahoo.com/", "Yahoo Mail", "Email"),
    ("", "https://docs.google.com/", "docs.google.com", "Referral"),
    ("", "https://blog.example.org/post", "blog.example.org", "Referral"),
    ("", "https://www.blog.example.org/post", "blog.example.org", "Referral"),
    ("", "https://user:pw@blog.example.org:8443/", "blog.example.org", "Referral"),
    ("", "https://192.0.2.1/", "192.0.2.1", "Referral"),
    ("", "https://google.com.evil.example/", "google.com.evil.example", "Referral"),
    ("", "https://notfacebook.com/", "notfacebook.com", "Referral"),
    ("", "https://facebook.com@evil.example/", "evil.example", "Referral"),
    ("", "https://evil.example\\@facebook.com/", "evil.example", "Referral"),
    ("?utm_source=google&utm_medium=cpc", None, "Google", "Paid Search"),
    ("?utm_source=GOOGLE&utm_medium=CPC", None, "Google", "Paid Search"),
    ("?utm_source=bing&utm_medium=ppc", None, "Bing", "Paid Search"),
    ("?utm_source=google&utm_medium=organic", None, "Google", "Organic Search"),
    ("?utm_source=facebook&utm_medium=paid_social", None, "Facebook", "Paid Social"),
    ("?utm_source=fb&utm_medium=cpc", "https://l.facebook.com/", "Facebook", "Paid Social"),
    ("?utm_source=ig", None, "Instagram", "Organic Social"),
    ("?utm_source=youtube&utm_medium=cpv", None, "YouTube", "Paid Video"),
    ("?utm_source=amazon&utm_medium=cpc", None, "Amazon", "Paid Shopping"),
    ("?utm_source=bing&utm_medium=cpc&utm_campaign=summer-shopping", None, "Bing", "Paid Shopping"),
    ("?utm_source=google&utm_medium=cpc&utm_campaign=cross-network", None, "Google", "Cross-network"),
    ("?utm_source=times&utm_medium=banner", None, "times", "Display"),
    ("?utm_source=times&utm_medium=cpm", None, "times", "Display"),
    ("?utm_source=times&utm_medium=cpc", None, "times", "Paid Other"),
    ("?utm_source=friends&utm_medium=social", None, "friends", "Organic Social"),
    ("?utm_source=friends&utm_medium=video", None, "friends", "Organic Video"),
    ("?utm_source=newsletter&utm_medium=email", "https://mail.google.com/", "newsletter", "Email"),
    ("?utm_source=mailchimp&utm_medium=march", None, "Mailchimp", "Email"),
    ("?utm_source=partner&utm_medium=affiliate", None, "partner", "Affiliates"),
    ("?utm_source=partner&utm_medium=referral", None, "partner", "Referral"),
    ("?utm_source=show&utm_medium=audio", None, "show", "Audio"),
    ("?utm_source=sms&utm_medium=text", None, "sms", "SMS"),
    ("?utm_source=app&utm_medium=push", None, "app", "Mobile Push Notifications"),
    ("?utm_source=partner&utm_medium=qr-code", None, "partner", "Unassigned"),
    ("?utm_medium=cpc", "https://www.google.com/", "Google", "Paid Search"),
    ("?gclid=abc", None, "Google", "Paid Search"),
    ("?gclid=abc", "https://www.google.com/", "Google", "Paid Search"),
    ("?GCLID=abc", "https://www.google.com/", "Google", "Paid Search"),
    ("?gbraid=abc", None, "Google", "Paid Search"),
    ("?wbraid=abc", None, "Google", "Paid Search"),
    ("?utm_source=google&gclid=abc", None, "Google", "Paid Search"),
    ("?dclid=abc", None, "Google Display", "Display"),
    ("?msclkid=abc", "https://www.bing.com/", "Bing", "Paid Search"),
    ("?yclid=1", None, "Yandex", "Paid Search"),
    ("?ysclid=1", None, "Yandex", "Organic Search"),
    ("?srsltid=1", "https://www.google.com/", "Google", "Organic Search"),
    ("?fbclid=abc", None, "Facebook", "Organic Social"),
    ("?fbclid=abc", "https://l.instagram.com/", "Instagram", "Organic Social"),
    ("?fbclid=abc&utm_source=fb&utm_medium=paid", None, "Facebook", "Paid Social"),
    ("?ttclid=abc", None, "TikTok", "Paid Social"),
    ("?twclid=abc", "https://t.co/", "X (Twitter)", "Paid Social"),
    ("?li_fat_id=abc", None, "LinkedIn", "Paid Social"),
    ("?rdt_cid=abc", None, "Reddit", "Paid Social"),
    ("?ScCid=abc", None, "Snapchat", "Paid Social"),
    ("?epik=abc", "https://www.pinterest.com/", "Pinterest", "Paid Social"),
    ("?tblci=abc", None, "Taboola", "Paid Other"),
    ("?mc_cid=abc", None, "Mailchimp", "Email"),
    ("", "https://shop.example/other", None, "Direct"),
    ("", "https://www.shop.example/", None, "Direct"),
    ("", "https://SHOP.example:443/", None, "Direct"),
    ("?utm_source=google&utm_medium=cpc", "https://shop.example/other", "Google", "Paid Search"),
    ("", "https://blog.shop.example/", "blog.shop.example", "Referral"),
    ("", "javascript:alert(1)", None, "Direct"),
    ("", "about:blank", None, "Direct"),
    ("", "www.google.com", None, "Direct"),
    ("#utm_source=google", None, None, "Direct"),
]


@pytest.mark.parametrize(("query", "referrer", "source", "channel"), VISITS)
def test_a_visit_has_its_source_and_channel(query, referrer, source, channel):
    attribution = attribute(SHOP + query, referrer, "www.shop.example:8000")
    assert (attribution.source, attribution.channel) == (source, channel)


def test_campaign_parameters_are_read_and_decoded():
    query = "?utm_source=The+Times&utm_medium=cpc&utm_campaign=spring%20sale&utm_term=gr%C3%BCner+tee&utm_content=top"
    assert attribute(SHOP + query, None, "shop.example") == Attribution(
        source="The Times",
        medium="cpc",
        campaign="spring sale",
        term="grüner tee",
        content="top",
        channel="Paid Other",
    )


@pytest.mark.parametrize(
    ("referrer", "medium"),
    [
        ("https://www.google.com/", "organic"),
        ("https://claude.ai/", "ai-assistant"),
        ("https://mail.google.com/", "email"),
        ("https://www.reddit.com/", "referral"),
        ("https://blog.example.org/", "referral"),
        (None, None),
    ],
)
def test_without_tags_the_medium_follows_from_the_referrer(referrer, medium):
    assert attribute(SHOP, referrer, "shop.example").medium == medium


def test_the_kind_of_click_id_is_kept_and_its_value_is_not():
    attribution = attribute(SHOP + "?gclid=Cj0KCQjwAAAA&fbclid=IwAR0", None, "shop.example")
    assert attribution.click_id_kind == "gclid"
    assert not any("Cj0KCQjwAAAA" in str(value) or "IwAR0" in str(value) for value in attribution)


def test_a_visit_from_a_page_of_the_site_is_internal():
    assert attribute(SHOP, "https://shop.example/", "shop.example") == Attribution(internal=True)
    assert attribute(SHOP, "https://other.example/", "shop.example").internal is False


@pytest.mark.parametrize(
    ("referrer", "spam"),
    [
        ("http://semalt.com/crawler.php", True),
        ("http://www.buttons-for-website.com/", True),
        ("http://sub.site7.free-share-buttons.com/", True),
        ("https://example.org/?semalt.com", False),
        ("https://notsemalt.com/", False),
        (None, False),
    ],
)
def test_referrers_known_for_being_forged_are_flagged(referrer, spam):
    assert attribute(SHOP, referrer, "shop.example").spam is spam


@pytest.mark.parametrize(
    "value",
    ["jane@example.org", "jane%40example.org", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0", "3f2b8a1c9d7e6f5a"],
)
@pytest.mark.parametrize("name", ["source", "medium", "campaign", "term", "content"])
def test_secrets_and_addresses_in_tags_are_taken_for_absent(name, value):
    assert attribute(f"{SHOP}?utm_{name}={value}", None, "shop.example") == Attribution()


def test_the_first_of_repeated_tags_counts_and_empty_ones_do_not():
    attribution = attribute(SHOP + "?utm_source=&utm_source=a&utm_source=b&utm_medium=email", None, "shop.example")
    assert attribution.source == "a"


def test_control_characters_and_length_are_cut():
    attribution = attribute(SHOP + "?utm_campaign=a%00b%0A" + "c" * 500, None, "shop.example")
    assert attribution.campaign is None  # a run of 500 letters is no name
    attribution = attribute(SHOP + "?utm_campaign=a%00b%0A" + "c+" * 300, None, "shop.example")
    assert attribution.campaign is not None
    assert attribution.campaign.startswith("abc c")
    assert len(attribution.campaign) <= 256


def test_a_tag_that_the_limit_cuts_is_not_read():
    padding = "x=" + "1" * (MAX_QUERY - len("x=&utm_campaign=jane@exam"))
    query = f"?{padding}&utm_campaign=jane@example.org"
    assert attribute(SHOP + query, None, "shop.example") == Attribution()


def test_without_an_own_host_nothing_is_internal():
    assert attribute(SHOP, "https://shop.example/", None).source == "shop.example"


@pytest.mark.parametrize("table", [sources.HOSTS, sources.EXACT_HOSTS])
def test_every_host_of_the_table_is_found_as_itself(table):
    assert {host: site_of(host) for host in table} == table


def test_subdomains_belong_to_a_site_unless_it_stands_alone():
    assert site_of("a.b.reddit.com") == site_of("reddit.com")
    assert site_of("drive.google.com") is None
    assert site_of("smile.amazon.de") == site_of("amazon.com")
    assert site_of("amazon.evil.example") is None


def test_names_in_the_table_are_lower_case_and_click_ids_name_known_sites():
    assert [key for key in (*sources.ALIASES, *sources.CLICK_IDS) if key != key.lower()] == []
    unlisted = {click.source for click in sources.CLICK_IDS.values() if click.source.lower() not in sources.ALIASES}
    assert unlisted == {"Google Display", "Outbrain", "Taboola"}


text = st.one_of(st.none(), st.text(max_size=300), st.text(alphabet="htps:/?&=#.@utm_sourcegl%[]", max_size=200))


@given(text, text, text)
def test_any_input_gives_an_attribution(url, referrer, own_host):
    assert attribute(url, referrer, own_host).channel


@given(st.text(max_size=200), st.sampled_from(["", "www.google.com", "blog.example"]))
def test_any_query_and_a_real_referrer_give_bounded_printable_text(query, host):
    attribution = attribute(f"{SHOP}?utm_source={query}&utm_medium={query}", f"https://{host}/", "shop.example")
    for value in attribution[:5]:
        assert value is None or (len(value) <= 256 and value.isprintable())
