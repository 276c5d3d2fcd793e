"""The channel rules, one by one and in their order, as GA4 publishes them for manually tagged traffic.

Rule source: support.google.com/analytics/answer/9756891, "[GA4] Default channel group".
"""

import pytest

from analytics_middleware.enrich.channel import channel


@pytest.mark.parametrize(
    ("source", "medium", "campaign", "category", "expected"),
    [
        (None, None, None, None, "Direct"),
        ("(direct)", "(none)", None, None, "Direct"),
        ("(direct)", "(not set)", None, None, "Direct"),
        ("Google", "cpc", "Spring Cross-Network", "search", "Cross-network"),
        ("Amazon", "cpc", None, "shopping", "Paid Shopping"),
        ("blog", "ppc", "autumn shopping", None, "Paid Shopping"),
        ("blog", "ppc", "shop now", None, "Paid Shopping"),
        ("blog", "ppc", "eshop", None, "Paid Shopping"),  # the rule's pattern lets an e stand before shop
        ("blog", "ppc", "workshop", None, "Paid Other"),  # but no other letter
        ("Google", "cpc", None, "search", "Paid Search"),
        ("Google", "CPC", None, "search", "Paid Search"),
        ("Google", "retargeting", None, "search", "Paid Search"),
        ("Google", "cpm", None, "search", "Paid Search"),  # it matches .*cp.*, and stands before Display
        ("Facebook", "paid_social", None, "social", "Paid Social"),
        ("Facebook", "paidsocial", None, "social", "Paid Social"),
        ("YouTube", "cpv", None, "video", "Paid Video"),
        ("news", "display", None, None, "Display"),
        ("news", "banner", None, None, "Display"),
        ("news", "expandable", None, None, "Display"),
        ("news", "interstitial", None, None, "Display"),
        ("news", "cpm", None, None, "Display"),
        ("news", "cpc", None, None, "Paid Other"),
        ("news", "paid", None, None, "Paid Other"),
        ("ChatGPT", "cpc", None, "ai", "Paid Other"),
        ("eBay", "referral", None, "shopping", "Organic Shopping"),
        ("blog", "post", "christmas shopping", None, "Organic Shopping"),
        ("Reddit", "referral", None, "social", "Organic Social"),
        ("somewhere", "social", None, None, "Organic Social"),
        ("somewhere", "sm", None, None, "Organic Social"),
        ("somewhere", "social media", None, None, "Organic Social"),
        ("Vimeo", "referral", None, "video", "Organic Video"),
        ("somewhere", "product-video", None, None, "Organic Video"),
        ("ChatGPT", "ai-assistant", None, "ai", "AI Assistants"),
        ("somewhere", "ai-assistant", None, None, "AI Assistants"),
        ("Bing", "organic", None, "search", "Organic Search"),
        ("somewhere", "organic", None, None, "Organic Search"),
        ("newsletter", "email", None, None, "Email"),
        ("newsletter", "E-Mail", None, None, "Email"),
        ("e_mail", "march", None, None, "Email"),
        ("e mail", None, None, None, "Email"),
        ("partner", "affiliate", None, None, "Affiliates"),
        ("blog.example", "referral", None, None, "Referral"),
        ("our", "app", None, None, "Referral"),
        ("our", "link", None, None, "Referral"),
        ("podcast", "audio", None, None, "Audio"),
        ("sms", "text", None, None, "SMS"),
        ("provider", "sms", None, None, "SMS"),
        ("app", "web-push", None, None, "Mobile Push Notifications"),
        ("app", "mobile-app", None, None, "Mobile Push Notifications"),
        ("app", "notification", None, None, "Mobile Push Notifications"),
        ("firebase", "x", None, None, "Mobile Push Notifications"),
        ("partner", "qr-code", None, None, "Unassigned"),
        ("partner", None, None, None, "Unassigned"),
    ],
)
def test_the_first_rule_that_holds_decides(source, medium, campaign, category, expected):
    assert channel(source, medium, campaign, category) == expected
