"""How other languages than English announce a call, talk about one, or ask before it: words alone. Pure.

Each pattern is read against the one sentence in front of a call, so it may be coarse.
"""

from __future__ import annotations

from typing import NamedTuple

from agent.models.dialects._words import Words


class Tongue(NamedTuple):
    """Regular expressions of one language."""

    acts: str
    """The model says that it does something now."""
    talks: str
    """What follows is an example, a form, wrong, or stands somewhere."""
    asks: str
    """The person is asked before anything is done."""


TONGUES = {
    "de": Tongue(
        r"\bich (?:werde|will|möchte|muss|lese|schaue|sehe|prüfe|führe|suche|öffne|rufe|lasse|starte"
        r"|beginne"
        r"|erstelle|schreibe|ändere|liste|nutze|verwende|benutze)\b(?!.*\b(?:nicht|nie|wenn du|sobald)\b)"
        r"|\b(?:lese|schaue|prüfe|führe|suche|öffne|starte) ich\b|\blass(?:t|en sie)? (?:mich|uns)\b",
        r"\b(?:(?:zum )?beispiel|beispielsweise|z\. ?b\.|sieht\b.*\baus\b|so aus\b|form\b|format\b|falsch"
        r"|nie(?:mals)?\b"
        r"|nicht\b|statt\b|inhalt (?:von|der|des)|enthält|steht\b|lautet|schr(?:ieb|eibt|eiben)\b"
        r"|geschrieben"
        r"|ausgegeben|gesendet|aufgerufen|schickt?e?\b|antwortete?\b|würdes?t?n?\b|könntes?t?n?\b"
        r"|alte\w* version|früher)",
        r"\b(?:soll(?:en)? (?:ich|wir)|möchten? (?:du|sie)|möchtest du|darf ich|willst du"
        r"|wenn du (?:zustimmst|willst|einverstanden))",
    ),
    "fr": Tongue(
        r"\bje (?:vais|dois|veux|lis|regarde|vérifie|cherche|lance|consulte|commence|ouvre|liste|crée)\b"
        r"|\bj'(?:ouvre|examine|exécute|appelle|utilise|affiche|écris|inspecte)\b|\blaisse(?:z)?-moi"
        r"|\b(?:commençons|regardons|voyons|vérifions|lisons)\b",
        r"\b(?:exemple|ressemble|comme (?:suit|ceci|cela)|la forme\b|le format\b|faux\b|incorrect"
        r"|jamais\b|au lieu de"
        r"|n[e'] ?(?:\w+ )?(?:exécut|lance|appel|fai)|contenu (?:de|du)|contient|a (?:écrit|émis|envoyé"
        r"|produit|appelé|répondu)"
        r"|écri(?:t|vait|rait)\b|pourr(?:ait|iez|ais)\b)",
        r"\b(?:dois-je|voulez-vous|veux-tu|puis-je|souhaitez-vous|faut-il|si vous (?:êtes d'accord"
        r"|confirmez))",
    ),
    "es": Tongue(
        r"(?<!no )\b(?:voy|vamos) a\b|\bdéj[ae]me\b|\bpermíteme\b"
        r"|(?<!no )\b(?:leo|leeré|reviso|revisaré|abro|ejecuto|ejecutaré|busco|miro|veamos|comencemos)\b",
        r"\b(?:ejemplo|se ve así|la forma\b|el formato|este (?:aspecto|formato)|incorrecto|mal:|nunca"
        r"|no (?:ejecut|llam|hag)"
        r"|en (?:lugar|vez) de|contenido de|contiene|dice:|escrib(?:ió|e|en)\b|emitió|envió|respondió"
        r"|podrías?\b)",
        r"(?:¿|\b)(?:debo|quieres que|desea que|puedo|debería|te parece|si (?:confirmas"
        r"|estás de acuerdo))\b",
    ),
    "pt": Tongue(
        r"(?<!não )\b(?:vou|vamos)\b|\bdeixe-me\b|\bdeixa eu\b|(?<!não )\bpreciso\b",
        r"\b(?:exemplo|parece com|formato|a forma\b|errado|nunca|não (?:execut|cham|faç)|em vez de"
        r"|conteúdo d|contém|diz:"
        r"|escrev(?:eu|e|em)\b|emitiu|enviou|respondeu|poderia)",
        r"\b(?:devo|você quer que|posso|deseja que|se você (?:confirmar|concordar))\b",
    ),
    "it": Tongue(
        r"(?<!non )\b(?:vado a|vediamo|leggo|controllo|apro|eseguo|devo|cerco)\b|\b(?:fammi|lasciami)\b",
        r"\b(?:esempio|si presenta|il formato|la forma\b|sbagliato|mai\b|non (?:eseguir|chiamar)"
        r"|invece di|contenuto d|contiene"
        r"|dice:|scriv(?:e|ono)\b|ha (?:scritto|emesso|inviato|risposto)|potrest[ie])",
        r"\b(?:devo\b.*\?|vuoi che|posso\b.*\?|se (?:confermi|sei d'accordo))",
    ),
    "nl": Tongue(
        r"\bik (?:ga|zal|moet|lees|kijk|bekijk|controleer|zoek|open|voer|begin|gebruik)\b(?!.*\bniet\b)"
        r"|\blaat (?:me|mij|ons)\b",
        r"\b(?:voorbeeld|bijvoorbeeld|ziet er\b|zo uit\b|de vorm\b|fout\b|nooit\b|niet\b|in plaats van"
        r"|inhoud van|bevat\b|schr(?:eef|ijft)\b|stuurde|antwoordde|zou(?:den)?\b)",
        r"\b(?:zal ik|wil je dat|mag ik|als je (?:akkoord|wilt))\b",
    ),
    "ru": Tongue(
        r"\bя (?:прочита|посмотр|провер|запущ|откр|найд|выполн|вызов|созда|использу|сначала|хочу|буду"
        r"|должен)"
        r"|\b(?:сейчас|давайте|прочитаю|посмотрю|проверю|открою|запущу)\b",
        r"\b(?:например|пример|выглядит|формат|вид\b|неправильно|неверно|никогда|не (?:запускай|выполняй"
        r"|вызывай|делай)|вместо"
        r"|содержимое|содержит|написал|пишет|вывел|отправил|выдал|вызвал|мог(?:ли)? бы)",
        r"\b(?:мне (?:выполнить|запустить|удалить)|хотите|хочешь|можно ли|стоит ли|если вы (?:согласны"
        r"|подтвердите))",
    ),
    "zh": Tongue(
        r"我(?:来|将|会|先|要|需要|想|现在|这就|去|再)(?!给你举|举)|让我|我们(?:来|先|需要)|(?:先|接下来|首先|现在)(?:看|读|查|运行|执行)",
        r"例如|比如|示例|例子|举例|格式|形式|样子|错误的|错误示|^错误：|不要|切勿|请勿|不应|而不是|不会(?:执行|运行)"
        r"|内容(?:是|为|：|如下)|包含|写道|(?:输出|发出|发送|调用|写|回复)了|旧版|可以写|通常",
        r"(?:要我|是否|可以|需要我|您?同意|确认).*(?:吗|？|\?|之?后)|如果(?:你|您)(?:同意|确认)",
    ),
    "ja": Tongue(
        r"(?:読み|確認し|見て(?:み|い)?き?|調べ|実行し|開き|探し|検索し|修正し|編集し|作成し)ます(?:\W|\Z)|ましょう(?!か)",
        r"例えば|たとえば|例[：:]|の例|例として|のように|形式|間違|誤り|実行しない|しないで|の内容|書かれて|と書|書きます"
        r"|(?:出力|送信|返答)し(?:ます|ました)|含まれて|代わりに",
        r"ましょうか|(?:よろしい|いい)です(?:か|ね)|(?:許可|承認|確認)(?:を|が)(?:いただ|もら|得)",
    ),
    "ko": Tongue(
        r"겠습니다|살펴보|확인해 ?보",
        r"예를 들어|예시|예:|형식|잘못|하지 ?마|내용[은:]|포함|출력했|보냈|작성했",
        r"(?:할까요|될까요|괜찮|동의|승인)",
    ),
}


ACTS = Words("|".join(tongue.acts for tongue in TONGUES.values()), whole=False)
TALKS = Words("|".join(tongue.talks for tongue in TONGUES.values()), whole=False)
ASKS = Words("|".join(tongue.asks for tongue in TONGUES.values()), whole=False)
