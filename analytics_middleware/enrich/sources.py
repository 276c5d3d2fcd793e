"""Data: the sites, mail programs and assistants that visitors come from, click ids, and spam referrers.

The categories are those of GA4's published source list (support.google.com/analytics/answer/9756891), which this
table follows for the sites that matter and departs from where a referrer says something better: web mail is e-mail,
not search, and payment pages are referrals, not shopping.
"""

from typing import Final, Literal, NamedTuple

Category = Literal["ai", "email", "search", "shopping", "social", "video"]


class Site(NamedTuple):
    """Where visitors come from, under the name that reports show."""

    name: str
    category: Category | None


class ClickID(NamedTuple):
    """What the presence of a click id says about the visit: the source, the medium, and whether it was paid for."""

    source: str
    medium: str
    paid: bool


# One site per line: its name, then how it is spelled. A spelling with a dot is a host with its subdomains; one that
# begins with "=" is that host alone (and its www. and m.), because its other subdomains are other services; one that
# ends with ".*" is the host under any national domain. A spelling without a dot is a value of utm_source. A line
# without a name continues the one before.
_SITES: Final[dict[Category, str]] = {
    "search": """
        Google: google =google.* =cse.google.* =images.google.* =news.google.* =encrypted.google.com
            =maps.google.* com.google.android.googlequicksearchbox google-play googlemybusiness google_ads
            google-ads adwords googleads
        Bing: bing =bing.com =cn.bing.com bing_ads bingads microsoft-ads
        DuckDuckGo: duckduckgo ddg duckduckgo.com com.duckduckgo.mobile.android
        Yahoo!: yahoo =yahoo.* search.yahoo.com search.yahoo.co.jp
        Yandex: yandex =yandex.* =ya.ru yandex-direct
        Baidu: baidu =baidu.com
        Naver: naver =naver.com search.naver.com
        Daum: daum =daum.net search.daum.net
        Seznam: seznam =seznam.cz search.seznam.cz
        Ecosia: ecosia ecosia.org
        Qwant: qwant qwant.com
        Brave: brave search.brave.com
        Startpage: startpage startpage.com
        Kagi: kagi kagi.com
        Sogou: sogou sogou.com
        360 Search: 360.cn so.com
        AOL: aol =aol.com search.aol.com
        Ask: ask =ask.com
        Dogpile: dogpile dogpile.com
        Swisscows: swisscows swisscows.com
        Mojeek: mojeek mojeek.com
        Presearch: presearch presearch.com
        Mail.ru Search: go.mail.ru
        Rambler: rambler =rambler.ru nova.rambler.ru
        Lycos: lycos lycos.com
        Petal: petalsearch.com
        Coc Coc: coccoc.com
        Yep: =yep.com
    """,
    "social": """
        Facebook: facebook fb meta facebook.com fb.com fb.me com.facebook.katana facebook_ads facebook-ads fb_ads
        Messenger: messenger messenger.com m.me com.facebook.orca
        Instagram: instagram ig instagram.com com.instagram.android
        Threads: threads threads.net threads.com
        WhatsApp: whatsapp whatsapp.com wa.me com.whatsapp
        X (Twitter): twitter x t.co twitter.com =x.com com.twitter.android
        LinkedIn: linkedin linkedin.com lnkd.in com.linkedin.android linkedin_ads linkedin-ads
        Reddit: reddit reddit.com redd.it com.reddit.frontpage
        Pinterest: pinterest pinterest.* pin.it com.pinterest
        TikTok: tiktok tiktok.com com.zhiliaoapp.musically tiktok_ads
        Snapchat: snapchat snapchat.com com.snapchat.android
        Bluesky: bluesky bsky bsky.app go.bsky.app
        Mastodon: mastodon mastodon.social mastodon.online mstdn.social
        Hacker News: hackernews hacker-news hn news.ycombinator.com
        Lobsters: lobsters lobste.rs
        Product Hunt: producthunt producthunt.com
        GitHub: github =github.com =gist.github.com
        Stack Overflow: stackoverflow stackoverflow.com
        Stack Exchange: stackexchange stackexchange.com superuser.com serverfault.com askubuntu.com
        Quora: quora quora.com
        Medium: medium medium.com
        Substack: substack substack.com
        Telegram: telegram t.me telegram.org telegram.me org.telegram.messenger
        Discord: discord discord.com discordapp.com com.discord
        Slack: slack slack.com com.slack
        Microsoft Teams: teams teams.microsoft.com statics.teams.cdn.office.net teams.live.com
        VK: vk vkontakte vk.com away.vk.com
        Odnoklassniki: ok.ru odnoklassniki.ru
        Weibo: weibo weibo.com weibo.cn t.cn
        WeChat: wechat weixin.qq.com wx.qq.com com.tencent.mm
        Douban: douban douban.com
        Zhihu: zhihu zhihu.com
        LINE: line line.me
        KakaoTalk: kakao kakao.com
        Tumblr: tumblr tumblr.com
        Flipboard: flipboard flipboard.com
        Pocket: getpocket.com
        Meetup: meetup meetup.com
        Nextdoor: nextdoor nextdoor.com
        XING: xing xing.com
        Blogger: blogger blogger.com blogspot.com
        Disqus: disqus disqus.com
        DeviantArt: deviantart deviantart.com
        Goodreads: goodreads goodreads.com
        Yelp: yelp yelp.com
        Tripadvisor: tripadvisor tripadvisor.*
        Glassdoor: glassdoor glassdoor.com
        Google Groups: groups.google.com googlegroups.com
        Hatena: hatena hatena.ne.jp
        Steam: steamcommunity.com
        Messages by Google: messages.google.com
        Hootsuite: hootsuite hootsuite.com
        Buffer: buffer buffer.com
        Bitly: bit.ly
        DEV: dev.to
    """,
    "video": """
        YouTube: youtube yt youtube.com youtu.be youtube-nocookie.com com.google.android.youtube
        Vimeo: vimeo vimeo.com
        Twitch: twitch twitch.tv
        Dailymotion: dailymotion dailymotion.com
        Netflix: netflix netflix.com
        Hulu: hulu hulu.com
        Disney+: disneyplus disneyplus.com
        Bilibili: bilibili bilibili.com
        iQIYI: iqiyi iqiyi.com iq.com
        Youku: youku youku.com
        Wistia: wistia wistia.com wistia.net
        TED: ted.com
        Rumble: rumble rumble.com
    """,
    "shopping": """
        Amazon: amazon amazon.*
        eBay: ebay ebay.*
        Etsy: etsy etsy.com
        Walmart: walmart walmart.com
        AliExpress: aliexpress aliexpress.com
        Alibaba: alibaba alibaba.com
        Temu: temu temu.com
        Shopify: shopify shopify.com shop.app
        Mercado Libre: mercadolibre mercadolivre mercadolibre.* mercadolivre.com.br
        Google Shopping: shopping.google.* googleshopping google-shopping
        Naver Shopping: shopping.naver.com
        Rakuten: rakuten rakuten.com rakuten.co.jp
        Idealo: idealo idealo.*
        Allegro: allegro allegro.pl
        Flipkart: flipkart flipkart.com
        Taobao: taobao taobao.com
        Tmall: tmall tmall.com
        JD.com: jd.com
        Zalando: zalando zalando.*
    """,
    "ai": """
        ChatGPT: chatgpt chatgpt.com openai openai.com com.openai.chatgpt
        Claude: claude claude.ai anthropic com.anthropic.claude
        Gemini: gemini gemini.google.com bard.google.com com.google.android.apps.bard
        Perplexity: perplexity perplexity.ai ai.perplexity.app.android
        Copilot: copilot copilot.microsoft.com copilot.com copilot.cloud.microsoft com.microsoft.copilot
        Grok: grok grok.com x.ai ai.x.grok
        DeepSeek: deepseek deepseek.com com.deepseek.chat
        Le Chat: lechat chat.mistral.ai
        Meta AI: meta-ai meta.ai
        You.com: you.com
        Poe: poe poe.com
        Phind: phind phind.com
        Duck.ai: duck.ai
        NotebookLM: notebooklm.google.com
        Character.AI: character.ai
        Pi: pi.ai
        Kimi: kimi kimi.com kimi.ai kimi.moonshot.cn
        Qwen: qwen chat.qwen.ai
        Doubao: doubao doubao.com
        iAsk: iask.ai
    """,
    "email": """
        Gmail: gmail mail.google.com com.google.android.gm
        Outlook: outlook outlook.live.com outlook.office.com outlook.office365.com outlook.com mail.live.com
            com.microsoft.office.outlook
        Yahoo Mail: mail.yahoo.com mail.yahoo.co.jp com.yahoo.mobile.client.android.mail
        Proton Mail: mail.proton.me mail.protonmail.com
        iCloud Mail: =icloud.com
        Yandex Mail: mail.yandex.ru mail.yandex.com
        Mail.ru: e.mail.ru
        AOL Mail: mail.aol.com
        GMX: gmx gmx.net gmx.com gmx.de
        WEB.DE: navigator.web.de
        Fastmail: fastmail fastmail.com
        Zoho Mail: mail.zoho.com mail.zoho.eu
        Naver Mail: mail.naver.com
        QQ Mail: mail.qq.com
        Seznam Email: email.seznam.cz
        Superhuman: mail.superhuman.com
        HEY: app.hey.com
        Mailchimp: mailchimp mailchimp.com campaign-archive.com list-manage.com
        Brevo: brevo sendinblue
        Klaviyo: klaviyo
        HubSpot Email: hs_email
        Campaign Monitor: campaignmonitor campaign-monitor
    """,
}

HOSTS: Final[dict[str, Site]] = {}
"""Hosts that stand for a site with all their subdomains, and packages of Android apps."""
EXACT_HOSTS: Final[dict[str, Site]] = {}
"""Hosts that stand for a site alone, without their subdomains."""
STEMS: Final[dict[str, Site]] = {}
"""Hosts of sites with many national domains, without the domain: ``amazon`` of ``amazon.co.uk``."""
EXACT_STEMS: Final[dict[str, Site]] = {}
"""The same for sites without their subdomains."""
ALIASES: Final[dict[str, Site]] = {}
"""Values of utm_source, lower case."""


def _index() -> None:
    for category, lines in _SITES.items():
        site = Site("", category)
        for line in lines.strip().splitlines():
            name, named, spellings = line.strip().partition(": ")
            if named:
                site = Site(name, category)
                ALIASES[name.lower()] = site
            for spelling in (spellings if named else line).split():
                _add(spelling, site)


def _add(spelling: str, site: Site) -> None:
    host = spelling.removeprefix("=")
    exact = host != spelling
    if "." not in host:
        ALIASES[host] = site
    elif host.endswith(".*"):
        (EXACT_STEMS if exact else STEMS)[host.removesuffix(".*")] = site
    else:
        (EXACT_HOSTS if exact else HOSTS)[host] = site


_index()

CLICK_IDS: Final[dict[str, ClickID]] = {
    # Google Ads auto-tagging: gbraid and wbraid are for iOS, gad_source is what remains without consent.
    "gclid": ClickID("Google", "cpc", paid=True),
    "gbraid": ClickID("Google", "cpc", paid=True),
    "wbraid": ClickID("Google", "cpc", paid=True),
    "dclid": ClickID("Google Display", "display", paid=True),
    "gad_source": ClickID("Google", "cpc", paid=True),
    "msclkid": ClickID("Bing", "cpc", paid=True),
    "yclid": ClickID("Yandex", "cpc", paid=True),
    "ttclid": ClickID("TikTok", "paid_social", paid=True),
    "twclid": ClickID("X (Twitter)", "paid_social", paid=True),
    "li_fat_id": ClickID("LinkedIn", "paid_social", paid=True),
    "rdt_cid": ClickID("Reddit", "paid_social", paid=True),
    "epik": ClickID("Pinterest", "paid_social", paid=True),
    "sccid": ClickID("Snapchat", "paid_social", paid=True),
    "qclid": ClickID("Quora", "paid_social", paid=True),
    "obclid": ClickID("Outbrain", "cpc", paid=True),
    "tblci": ClickID("Taboola", "cpc", paid=True),
    # Meta puts fbclid on every outbound link, paid or not.
    "fbclid": ClickID("Facebook", "social", paid=False),
    "igshid": ClickID("Instagram", "social", paid=False),
    "igsh": ClickID("Instagram", "social", paid=False),
    "ysclid": ClickID("Yandex", "organic", paid=False),
    "srsltid": ClickID("Google", "organic", paid=False),
    # One value per campaign. Ids that identify a recipient (mc_eid, _hsenc, _kx, mkt_tok) are left out on purpose.
    "mc_cid": ClickID("Mailchimp", "email", paid=False),
    "_hsmi": ClickID("HubSpot Email", "email", paid=False),
}
"""Query parameters (lower case) that platforms append to the links on them, strongest evidence first."""

_SPAM: Final = """
    semalt.com semaltmedia.com buttons-for-website.com buttons-for-your-website.com best-seo-offer.com
    best-seo-solution.com best-seo-software.xyz darodar.com econom.co priceg.com ilovevitaly.com ilovevitaly.co
    ilovevitaly.info ilovevitaly.org ilovevitaly.ru hulfingtonpost.com blackhatworth.com 100dollars-seo.com
    1-99seo.com free-share-buttons.com 1-free-share-buttons.com floating-share-buttons.com simple-share-buttons.com
    share-buttons.xyz free-social-buttons.com social-buttons.com sharebutton.net sharebutton.to event-tracking.com
    get-free-traffic-now.com get-free-social-traffic.com free-website-traffic.com 4webmasters.org
    7makemoneyonline.com trafficmonetize.org trafficmonetizer.org traffic2money.com traffic2cash.org
    traffic2cash.xyz traffic-cash.xyz monetizationking.net success-seo.com auto-seo-service.org
    autoseo-traffic.com autoseotips.com top1-seo-service.com seo-platform.com amazon-seo-service.com
    kambasoft.com humanorightswatch.org o-o-6-o-o.com o-o-8-o-o.com o-o-11-o-o.com rank-checker.online
    rankings-analytics.com ranksonic.info ranksonic.net ranksonic.org site-auditor.online web-revenue.xyz
    video--production.com videos-for-your-business.com savetubevideo.com hosting-tracker.com domain-tracker.com
    landoftracking.com ghostvisitor.com mycheaptraffic.com copyrightclaims.org copyrightinstitute.org
"""
SPAM_HOSTS: Final = frozenset(_SPAM.split())
"""Hosts known for sending forged referrers to advertise themselves: those of the public-domain list
github.com/matomo-org/referrer-spam-list that advertise traffic, rankings and buttons to site owners."""
