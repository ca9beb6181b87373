"""The names that price files give to their columns, in the formats and languages that people have.

Names are compared in their plain form (``plain``): without case, accents, spaces, punctuation, numbering and what
stands in parentheses, so that "Adj. Close**", "4. close (USD)" and "<CLOSE>" are "adjclose", "close" and "close".
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache


def word_set(text: str) -> frozenset[str]:
    """The words of a text."""
    return frozenset(text.split())


COLUMNS = ("open", "high", "low", "close", "volume", "adj_close")  # in the order of the market store

# By field, the first spelling found counts: "Symbol" is the symbol in a file that also has a company's "Name". First
# English and vendors' own; then German, Dutch, Nordic; French, Spanish, Italian, Portuguese; Polish, Czech, Russian,
# Turkish; Chinese, Japanese, Korean.
_SPELLINGS: dict[str, str] = {
    "date": """
        date datetime timestamp tradedate tradingdate tradingday quotedate pricedate datadate bizdt traddt
        day date1
        observationdate timeopen opentime starttime begin dt time datestamp timeperiod ts tsevent windowstart unix
        unixtimestamp
        dtyyyymmdd yyyymmdd startat dlycaldt dtcomptc
        snappedat gmttime localtime utctime utc timeutc datetimeutc begins t epoch timeperiodstart timeclose
        transacttime transactiontime executiontime exectime eventtime tradetime tradetimestamp
        start tstamp datumvon datefrom beginsat publisheddate dailydate timeserie yyyymm trddt jdate tid
        datum tag handelstag zeit dag paivamaara paiva dato
        jour dateheure seance fecha data giorno dia datahora
        dzien den datumacas datumvreme tarikh tanggalperdaganganterakhir дата дататорговли время tarih tanggal ngay
        ημερομηνια תאריך التاريخ วันที่ तारीख
        日期 交易日期 时间 日付 日付け 年月日 日時 날짜 일자""",
    "symbol": """
        symbol ticker tic sym tscode tckrsymb securitiescode securitycode stockcode seccode instrument
        instrumentname code schemecode sccode tradingcode orderbookid assetid cnpjfundo cnpjfundoclasse
        stocksymbol tickersymbol symbole localcode security asset stock coin pair currencypair etf
        tradingsymbol underlying underlyingsymbol scrip scripname
        act_symbol serieskey key stkcd slug sharecode nemotecnico instrumento
        stockid tickerid rawsymbol contract secid idbbglobal bbgticker ric index indexname company
        companyname
        stockname
        name securityname schemename isin cusip permno sedol product item issuer fund series_id
        wertpapier wkn kurzel kuerzel aktie instrumentid
        valeur mnemonique titre simbolo titolo ativo codneg papel especie accion empresa
        papier nazwa тикер бумага код hisse sembol islemkodu kodesaham
        股票代码 代码 证券代码 證券代號 名称 股票名称 コード 銘柄コード 銘柄 종목코드 종목명""",
    "open": """
        first open opening openp dlyopen openprice openingprice pxopen opn opnpric priceopen dayopen firstprice
        prcod o mktopen
        openpx
        openrate opnprc firsttradeprice mktopen openprc startprice
        pembukaan buka mo eroffnung eroffn eroffnungskurs eroffnungs erster anfangskurs openen openingskoers
        oppen oppning apning prva aben abning
        avaus
        ouverture ouv coursouverture premier apertura precioapertura abertura abert preabe precoabertura
        primo
        kursotwarcia otwarcie otevreni oteviraci otvaranje otvaraci nyito deschidere
        откр открытие открытия ценаоткрытия відкриття отваряне acilis acilisfiyati
        ανοιγμα פתיחה שערפתיחה الافتتاح เปิด ราคาเปิด ओपन
        开盘 开盘价 今开 開盤價 開盤 開市 開市價 始値 시가""",
    "high": """
        high dlyhigh highprice pxhigh hgh hghpric pricehigh dayhigh highest max maximum maxprice h prchd highpx
        tageshigh hoj hojest hojeste
        highrate hiprc hightradeprice mkthigh high1 askhi
        tertinggi tinggi cao hoch hochst hoechst hochstkurs tageshoch hoog hoogste hogst hogsta hoy hoyest ylin
        haut plushaut coursplushaut maximo max maxima premax massimo preciomaximo precomaximo
        kursmax najwyzszy maks maxim nejvyssi najvyssi najvisa legmagasabb макс максимум максимальная yuksek
        enyuksekfiyat
        preciomayor υψηλο υψηλοτερη גבוה שערגבוה الاعلى สูง สูงสุด ราคาสูงสุด उच्च
        最高 最高价 最高價 高 高値 고가""",
    "low": """
        low dlylow lowprice pxlow lw lwpric pricelow daylow lowest min minimum minprice l prcld lowpx lowrate
        loprc lowtradeprice mktlow low1 bidlo
        terendah rendah thap tief tiefst tiefstkurs tagestief laag laagste lagst lagsta lav lavest alin
        bas plusbas coursplusbas minimo minima premin minimo preciominimo precominimo
        kursmin najnizszy minim nejnizsi najnizsi najniza legalacsonyabb мінімум мин минимум минимальная dusuk
        endusukfiyat
        preciomenor χαμηλο χαμηλοτερη נמוך שערנמוך الادنى ต่ำ ต่ำสุด ราคาต่ำสุด कम
        最低 最低价 最低價 低 低値 安値 저가""",
    "close": """
        p close closing closep dlyclose dlyprc closeprice closingprice closelast pxlast clspric pxclose pxsettle
        settle settlementprice settleprice settlement
        sttlmpric closingvalue closevalue last lastprice lastpric ltp prc prccd priceclose dayclose closepx
        c trade
        closerate price lastsale pxmid mid midprice value vwapclose spotprice nav netassetvalue obsvalue currentprice
        vlquota priceusd referencerateusd clsprc lasttradeprice endprice trdprc1 trdprc current exchangerate
        closingpricevwap dayprice
        navpershare unitprice rate
        usdprice
        terakhir harga penutupan lancuoi schluss schlusskurs schlusspreis letzter zuletzt kurs endkurs
        rucknahmepreis slot
        slotkoers slotkurs laatst
        wert arvo verdi varde slotkoersen senast senaste stangning stangningskurs siste paatos seneste
        cloture clot dernier coursdecloture courscloture cours cloturee valeurliquidative cierre ultimo
        chiusura
        fechamento fech
        indhold slutt fecho viimeisin lukukurssi
        preult ultimopreco precoultimo precio preciocierre prezzo prezzoultimo preco cotacao
        valorliquidativo valor
        kurszamkniecia zamkniecie ostatnio kursz zaverecny hodnota wartosc закр закрытие закрытия ценазакрытия
        цена закриття затваряне curs inchidere zaro zaroar zaverecna posledna zadnja zakljucna kapanis
        kapanisfiyati simdi fiyat
        son
        τελευταια κλεισιμο שער שערנעילה נעילה الاخير الاغلاق ล่าสุด ปิด ราคาปิด कीमत
        收盘 收盘价 收盤價 收盤 收市 收市價 终值 株価 終値 종가 현재가""",
    "volume": """
        volume vol dlyvol tradedvolume tradevolume pxvolume totaltradedquantity totaltradequantity tottrdqty ttltradgvol
        ttltrdqnty
        noofshares noofshrs
        numberofshares totalvolume sharevolume volumetraded quantity sharestraded tradequantity qty v cshtrd
        dailyvolume volumeshares tradingvolume totvol vola volumebtc basevolume volumefrom sumvolume
        dnshrtrd acvoluns acvol1 acvol tradedquantity volumetraded totalsharestraded totaltradedvolume toplamislemadedi
        unidades
        size tradesize lastsize
        kl khoiluong jumlah tickvol tickvolume stuck stuecke stucke umsatzstuck volumen gehandeldestukken
        omsattning volym volum vaihto
        volumes quantite quantiteechangee nombredetitres titresechanges volumi quantita cantidad quantidade
        qua
        totneg quatot
        wolumen wol volum kolicina forgalom objem объем обем оборот объём обсяг hacim hac
        ογκ ογκος נפח מחזור الحجم ปริมาณ वॉल्यूम
        成交量 成交股数 成交股數 成交張數 总手 交易量 出来高 売買高 거래량""",
    "adj_close": """
        adjclose adjustedclose adjcloseprice adjustedcloseprice closeadj closeadjusted adjusted
        adjustmentclose
        adjcls adjprcwd שערנעילהמתואם
        adjustedclosingprice pxlastadj adjustedprice adjprice
        bereinigt bereinigterschlusskurs schlusskursbereinigt schlussbereinigt
        clotureajustee cierreajustado chiusuraaggiustata fechamentoajustado
        后复权收盘价 复权收盘价 調整後終値 調整後終値 수정종가""",
}
# Of these, and only with a date beside them, a column holds the time of day.
_TIMES = """time zeit heure hora ora godzina время tradetime timeofday saat 时间 時刻 시간 tijd tid minute timebarstart
    bartime starttime opentime timestart hhmm"""
_DATE_PARTS = (
    "year yr yyyy jahr annee ano anno rok год yil 年",
    "month mon mm monat mois mes mese miesiac месяц ay 月",
    "day dayofmonth dd tag jour dia giorno dzien день gun 日",
)
_TICK_VOLUMES = "tickvol tickvolume ticks"
_SERIES = "series sctysrs"  # of the National Stock Exchange of India: EQ is the share, W1 a warrant

# Words that stand beside a field's name without changing what it is.
FILLER = word_set(
    r"""price px mid raw regular market stock daily day bar value usdt busd usdc usd eur gbp inr jpy cny
    historical hist 24h preis kurs precio prezzo preco cena цена fiyat ahead"""
)
# Words that make another quantity of a field: "Prev Close", "Close Time", "Open Interest", "52W High", "Change".
OTHER = word_set(
    r"""adj adjusted prev previous pre preclose interest int time change chg pct percent 52w wk week
    year ytd avg average
    mean ma sma ema signal return returns ret diff delta turnover value quote taker count number trades
    date timestamp lag next target std volatility range ratio rank log scaled norm upper lower limit
    band adjustment split dividend transaction vwap official weighted"""
)


@lru_cache(4096)  # files of one kind have the same names
def plain(name: str) -> str:
    """The form in which names are compared: "4. close (USD)" is "close"."""
    return "".join(words(name))


@lru_cache(4096)
def words(name: str) -> tuple[str, ...]:
    """The words of a name, in lower case and without accents: "adjClose" is "adj", "close"."""
    text = (
        re.sub(r"\((?!adj)[^)]*\)|\[[^]]*\]", " ", name, flags=re.I)
        if not name.strip().startswith(("(", "["))
        else name
    )
    text = re.sub(r"^\s*\d+[a-z]?\.\s", " ", text)  # Alpha Vantage: "4. close", "4a. close"
    text = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text)
    return tuple(word for word in re.split(r"[\W_]+", _folded(text)) if word)


def _folded(text: str) -> str:
    """Lower case, and Latin and Cyrillic letters without accents; other scripts as they are."""
    text = text.lower().replace("ß", "ss").replace("ł", "l").replace("ı", "i").replace("ø", "o")
    parts = unicodedata.normalize("NFD", text)
    bare = "".join(
        c for c in parts if not unicodedata.combining(c) or unicodedata.name(c, "").startswith("KATA")
    )
    return unicodedata.normalize("NFC", bare)


def _table(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(plain(word) for word in text.split()))


# Sides of a market: of one instrument each, not its name.
SIDES = frozenset({"bid", "ask", "mid", "buy", "sell", "offer"})
SPELLINGS: dict[str, tuple[str, ...]] = {field: _table(text) for field, text in _SPELLINGS.items()}
DATE_PARTS: tuple[tuple[str, ...], ...] = tuple(map(_table, _DATE_PARTS))
TIMES, SERIES, TICK_VOLUMES = _table(_TIMES), _table(_SERIES), _table(_TICK_VOLUMES)
FIELD_OF: dict[str, str] = {
    spelling: field for field in reversed(COLUMNS) for spelling in SPELLINGS[field]
}  # prices and volume by spelling
FIELD_NAMES = frozenset(FIELD_OF)
KNOWN_NAMES = FIELD_NAMES.union(SPELLINGS["date"], SPELLINGS["symbol"])
SINGLE_LETTERS = frozenset("ohlcvtp")  # names only beside the others, as ``letters_are_names`` says


def letters_are_names(names: Iterable[str]) -> bool:
    """Whether single letters are names: of open, high, low, close; of price, dividend and earnings (Shiller)."""
    return {"o", "h", "l", "c"} <= {*names} or {"p", "d", "e"} <= {*names}


def is_price_word(word: str) -> bool:
    """Whether a word of a name is open, high, low, close or volume in some language."""
    if word in ("bid", "ask", "vwap", "ohlc"):
        return True
    return (
        len(word) >= 3 and word in FIELD_OF and word not in ("max", "min", "first", "trade", "son", "current")
    )


def shown(field: str) -> str:
    """The spellings of a field for people, the common ones."""
    usual = {
        "date": "date, datetime, timestamp, day, time",
        "symbol": "symbol, ticker, code, name",
        "close": "close, last, settle, price",
    }
    return usual.get(field, ", ".join(SPELLINGS[field][:4]))
