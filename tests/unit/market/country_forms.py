"""More files as exchanges, brokers and portals of many countries write them, with made-up numbers: ``price_forms``."""

from __future__ import annotations

from price_forms import TWO, Form, Rows, bars, closes


def _minute(*rows: tuple[str, float, float, float, float, float]) -> Rows:
    return bars(*((f"{row[0]}:00.000000000", *row[1:]) for row in rows))


# TWO a fortnight later, where only a day above 12 tells the order of day and month.
LATER = [(date, values) for date, (_, values) in zip(("2024-01-16", "2024-01-17"), TWO, strict=True)]
MINUTES = _minute(
    ("2024-01-02T09:30", 97.2, 98.4, 93.9, 95.6, 7200), ("2024-01-02T09:31", 94.2, 95.9, 93.4, 94.3, 5200)
)
THOUSANDS = [(date, {name: 1000 * value for name, value in values.items()}) for date, values in TWO]
FOUR = [(date, {name: values[name] for name in ("open", "high", "low", "close")}) for date, values in TWO]


def _portal(header: str, decimal: str = ".", date: str = "{0}/01/2024") -> str:
    """Two rows of Investing.com's site in a language."""
    rows = [("97.20", "98.40", "93.90", "95.60", "7.20K"), ("94.20", "95.90", "93.40", "94.30", "5.20K")]
    lines = [header]
    for day, (first, high, low, close, volume) in zip((16, 17), rows, strict=True):
        cells = [date.format(day), close, first, high, low, volume, "-1.23%"]
        lines.append(
            ",".join(f'"{cell.replace(".", decimal) if n else cell}"' for n, cell in enumerate(cells))
        )
    return "\n".join(lines) + "\n"


COUNTRY_FORMS: dict[str, Form] = {
    # Portals in further languages
    "Investing.com Hebrew": (
        "x.csv",
        _portal('"תאריך","שער","פתיחה","גבוה","נמוך","נפח","% שינוי"', date="{0}.01.2024"),
        {"x": LATER},
    ),
    "Investing.com Arabic": (
        "x.csv",
        _portal('"التاريخ","الأخير","الافتتاح","الأعلى","الأدنى","الحجم","نسبة التغير %"'),
        {"x": LATER},
    ),
    "Investing.com Thai": (
        "x.csv",
        _portal('"วันที่","ล่าสุด","เปิด","สูง","ต่ำ","ปริมาณ","% เปลี่ยน"', date="{0}/01/2567"),
        {"x": LATER},
    ),
    "Investing.com Greek": (
        "x.csv",
        _portal('"Ημερομηνία","Τελευταία","Άνοιγμα","Υψηλό","Χαμηλό","Ογκ.","Μεταβολή %"', decimal=","),
        {"x": LATER},
    ),
    "Investing.com Hindi": (
        "x.csv",
        _portal('"तारीख","कीमत","ओपन","उच्च","कम","वॉल्यूम","% बदलें"', date="{0}-01-2024"),
        {"x": LATER},
    ),
    "Investing.com Finnish": (
        "x.csv",
        _portal('"Päivämäärä","Viimeisin","Avaus","Ylin","Alin","Vol.","Muutos %"', ",", "{0}.01.2024"),
        {"x": LATER},
    ),
    "Investing.com Danish": (
        "x.csv",
        _portal('"Dato","Seneste","Åben","Høj","Lav","Vol.","Ændring %"', ",", "{0}.01.2024"),
        {"x": LATER},
    ),
    "Investing.com Malay": (
        "x.csv",
        _portal('"Tarikh","Harga","Buka","Tinggi","Rendah","Jumlah","Perubahan %"'),
        {"x": LATER},
    ),
    "Investing.com in Hong Kong": (
        "x.csv",
        _portal('"日期","收市","開市","高","低","成交量","升跌（%）"', date="2024年1月{0}日"),
        {"x": LATER},
    ),
    "Budapest": (
        "x.csv",
        "Dátum;Nyitó;Maximum;Minimum;Záró;Forgalom\n2024.01.02.;97,2;98,4;93,9;95,6;7200\n2024.01.03.;94,2;95,9;93,4;94,3;5200\n",
        {"x": TWO},
    ),
    "Czech": (
        "x.csv",
        "Datum;Otevírací;Nejvyšší;Nejnižší;Závěrečná;Objem\n16.01.2024;97,2;98,4;93,9;95,6;7200\n17.01.2024;94,2;95,9;93,4;94,3;5200\n",
        {"x": LATER},
    ),
    "Bucharest": (
        "x.csv",
        "Data,Deschidere,Maxim,Minim,Inchidere,Volum\n16.01.2024,97.2,98.4,93.9,95.6,7200\n17.01.2024,94.2,95.9,93.4,94.3,5200\n",
        {"x": LATER},
    ),
    "Oslo": (
        "x.csv",
        "Dato;Åpning;Høy;Lav;Slutt;Volum\n16.01.2024;97,2;98,4;93,9;95,6;7200\n17.01.2024;94,2;95,9;93,4;94,3;5200\n",
        {"x": LATER},
    ),
    "Lisbon": (
        "x.csv",
        "Data;Abertura;Máximo;Mínimo;Fecho;Volume\n16/01/2024;97,2;98,4;93,9;95,6;7200\n17/01/2024;94,2;95,9;93,4;94,3;5200\n",
        {"x": LATER},
    ),
    "Zagreb": (
        "x.csv",
        "Datum;Prva;Najviša;Najniža;Zadnja;Količina\n16.01.2024;97,2;98,4;93,9;95,6;7200\n17.01.2024;94,2;95,9;93,4;94,3;5200\n",
        {"x": LATER},
    ),
    "Kyiv": (
        "x.csv",
        "Дата;Відкриття;Максимум;Мінімум;Закриття;Обсяг\n16.01.2024;97,2;98,4;93,9;95,6;7200\n17.01.2024;94,2;95,9;93,4;94,3;5200\n",
        {"x": LATER},
    ),
    "Sofia": (
        "x.csv",
        "Дата;Отваряне;Макс.;Мин.;Затваряне;Обем\n16.01.2024;97,2;98,4;93,9;95,6;7200\n17.01.2024;94,2;95,9;93,4;94,3;5200\n",
        {"x": LATER},
    ),
    # Exchanges
    "Tel Aviv": (
        "x.csv",
        "תאריך,שער נעילה מתואם,שער נעילה,שער פתיחה,שער גבוה,שער נמוך,מחזור\n"
        "16/01/2024,95.1,95.6,97.2,98.4,93.9,7200\n17/01/2024,93.8,94.3,94.2,95.9,93.4,5200\n",
        {
            "x": [
                (date, {**values, "adj_close": adjusted})
                for (date, values), adjusted in zip(LATER, (95.1, 93.8), strict=True)
            ]
        },
    ),
    "Deutsche Boerse's public data set": (
        "x.csv",
        "ISIN,Mnemonic,SecurityDesc,SecurityType,Currency,SecurityID,Date,Time,StartPrice,MaxPrice,MinPrice,EndPrice,TradedVolume,NumberOfTrades\n"
        "AT0000A0E9W5,SANT,S+T AG,Common stock,EUR,2504159,2024-01-02,09:30,97.2,98.4,93.9,95.6,7200,2\n"
        "AT0000A0E9W5,SANT,S+T AG,Common stock,EUR,2504159,2024-01-02,09:31,94.2,95.9,93.4,94.3,5200,2\n",
        {"AT0000A0E9W5": MINUTES},
    ),
    "Frankfurt": (
        "x.csv",
        "Datum;Eröffnung;Schluss;Tageshoch;Tagestief;Umsatz (Stück);Umsatz (€)\n"
        "16.01.24;97,20;95,60;98,40;93,90;7.200;690.000\n17.01.24;94,20;94,30;95,90;93,40;5.200;490.000\n",
        {"x": [(date, {k: v for k, v in values.items() if k != "volume"}) for date, values in LATER]},
    ),
    "Vienna": (
        "x.csv",
        "Datum;Letzter Preis;Veränderung in %;Tageshoch;Tagestief;Umsatz\n16.01.2024;95,6;-1,2;98,4;93,9;690000\n"
        "17.01.2024;94,3;-1;95,9;93,4;490000\n",
        {"x": [(date, {k: values[k] for k in ("high", "low", "close")}) for date, values in LATER]},
    ),
    "Istanbul, with headers in two languages": (
        "x.csv",
        "TARIH;ISLEM  KODU;BULTEN ADI;ACILIS FIYATI;EN DUSUK FIYAT;EN YUKSEK FIYAT;KAPANIS FIYATI;TOPLAM ISLEM ADEDI\n"
        "TRADE DATE;INSTRUMENT SERIES CODE;INSTRUMENT NAME;OPENING PRICE;LOWEST PRICE;HIGHEST PRICE;CLOSING PRICE;TOTAL TRADED VOLUME\n"
        "2024-01-02;ACSEL.E;ACISELSAN;97.2;93.9;98.4;95.6;7200\n2024-01-02;AKBNK.E;AKBANK;273.6;266.5;275.6;270.6;2100\n"
        "2024-01-03;ACSEL.E;ACISELSAN;94.2;93.4;95.9;94.3;5200\n",
        {"ACSEL.E": TWO, "AKBNK.E": bars(("2024-01-02", 273.6, 275.6, 266.5, 270.6, 2100))},
    ),
    "Tehran, where FIRST is the open": (
        "x.csv",
        "<TICKER>,<DTYYYYMMDD>,<FIRST>,<HIGH>,<LOW>,<CLOSE>,<VALUE>,<VOL>,<OPENINT>,<PER>,<OPEN>,<LAST>\n"
        "Foolad,20240103,94.2,95.9,93.4,94.3,490000,5200,300,D,95.6,94.5\n"
        "Foolad,20240102,97.2,98.4,93.9,95.6,690000,7200,300,D,96.9,95.5\n",
        {"Foolad": TWO},
    ),
    "Tadawul": (
        "x.csv",
        "symbol,name,trading_name,sectoer,date,open,high,low,close,change,perc_Change,volume_traded ,value_traded,no_trades \n"
        "2030,Saudi Arabia Refineries Co.,SARCO,Energy,2024-01-02,97.2,98.4,93.9,95.6,-0.2,-1,7200.0,690000,300\n"
        "2030,Saudi Arabia Refineries Co.,SARCO,Energy,2024-01-03,94.2,95.9,93.4,94.3,-0.2,-1,5200.0,490000,300\n",
        {"2030": TWO},
    ),
    "Karachi": (
        "x.csv",
        "Date,Symbol,Company,LDCP,OPEN,HIGH,LOW,CURRENT,CHANGE,VOLUME\n2024-01-02,HBL,Habib Bank,97,97.2,98.4,93.9,95.6,-1.4,7200\n"
        "2024-01-03,HBL,Habib Bank,95.6,94.2,95.9,93.4,94.3,-1.3,5200\n",
        {"HBL": TWO},
    ),
    "Kathmandu": (
        "x.csv",
        "published_date,open,high,low,close,per_change,traded_quantity,traded_amount,status\n2024-01-02,97.2,98.4,93.9,95.6,0.1,7200,690000,-1\n"
        "2024-01-03,94.2,95.9,93.4,94.3,,5200,490000,1\n",
        {"x": TWO},
    ),
    "Nairobi": (
        "x.csv",
        "Date,Code,Name,12m Low,12m High,Day Low,Day High,Day Price,Previous,Change,Change%,Volume,Adjust\n"
        "16-Jan-24,EGAD,Eaagads Ltd,8.2,140,93.9,98.4,95.6,12.5,-,-,7200,-\n17-Jan-24,EGAD,Eaagads Ltd,8.2,140,93.4,95.9,94.3,12.5,-0.1,0.80%,5200,-\n",
        {"EGAD": [(date, {k: v for k, v in values.items() if k != "open"}) for date, values in LATER]},
    ),
    "Accra": (
        "x.csv",
        "Daily Date,Share Code,Year High (GH¢),Year Low (GH¢),Previous Closing Price - VWAP (GH¢),Opening Price (GH¢),"
        "Last Transaction Price (GH¢),Closing Price - VWAP (GH¢),Price Change (GH¢),Closing Bid Price (GH¢),Closing Offer Price (GH¢),"
        "Total Shares Traded,Total Value Traded (GH¢)\n"
        '16/01/2024,MTNGH,150,90,97,97.2,95.5,95.6,0.03,95.5,95.7,"7,200",10000\n17/01/2024,MTNGH,150,90,95.6,94.2,94.4,94.3,0.02,94.2,94.4,"5,200",8000\n',
        {"MTNGH": [(d, {k: values[k] for k in ("open", "close", "volume")}) for d, values in LATER]},
    ),
    "Bogota": (
        "x.csv",
        "nemotecnico,fecha,cantidad,precio cierre,precio mayor,precio medio,precio menor\nECOPETROL,16/01/2024,7200,95.6,98.4,96,93.9\n"
        "ECOPETROL,17/01/2024,5200,94.3,95.9,95,93.4\n",
        {"ECOPETROL": [(d, {k: v for k, v in values.items() if k != "open"}) for d, values in LATER]},
    ),
    "Shenzhen and Shanghai, CSMAR": (
        "TRD_Dalyr.csv",
        "Stkcd,Trddt,Opnprc,Hiprc,Loprc,Clsprc,Dnshrtrd,Dnvaltrd,Dsmvosd,Markettype,Trdsta\n000001,2024-01-02,97.2,98.4,93.9,95.6,7200,690000,1,4,1\n"
        "000001,2024-01-03,94.2,95.9,93.4,94.3,5200,490000,1,4,1\n600000,2024-01-03,6.2,6.9,6.1,6.3,5200,490000,1,1,1\n",
        {"000001": TWO, "600000": closes(("2024-01-03", 6.3))},
    ),
    "Tonghuashun, weekdays behind the dates": (
        "x.txt",
        "时间\t开盘\t最高\t最低\t收盘\t涨幅\t振幅\t总手\t金额\n2024-01-02,二\t97.20\t98.40\t93.90\t95.60\t-1.2%\t2%\t7,200\t690,000\n"
        "2024-01-03,三\t94.20\t95.90\t93.40\t94.30\t-1.2%\t2%\t5,200\t490,000\n",
        {"x": TWO},
    ),
    "kabu+": (
        "x.csv",
        "SC,名称,市場,業種,日時,株価,前日比,前日比（％）,前日終値,始値,高値,安値,VWAP,出来高\n"
        "1301,極洋,東証1部,水産,2024/01/04 15:00,3705,5,0.1,3700,3700,3715,3690,3702,12300\n"
        "1332,ニッスイ,東証1部,水産,2024/01/04 15:00,760,2,0.1,758,758,765,750,760,2300\n",
        {
            "極洋": bars(("2024-01-04T15:00:00.000000000", 3700, 3715, 3690, 3705, 12300)),
            "ニッスイ": bars(("2024-01-04T15:00:00.000000000", 758, 765, 750, 760, 2300)),
        },
    ),
    "pykrx": (
        "x.csv",
        "날짜,시가,고가,저가,종가,거래량,등락률\n2024-01-02,97200,98400,93900,95600,7200000,0.1\n2024-01-03,94200,95900,93400,94300,5200000,0.1\n",
        {"x": THOUSANDS},
    ),
    # Vendors and brokers
    "Refinitiv, one instrument": (
        "AAPL.O.csv",
        "Date,TRDPRC_1,HIGH_1,LOW_1,OPEN_PRC,ACVOL_UNS,BID,ASK\n2024-01-02,95.6,98.4,93.9,97.2,7200,95.5,95.7\n2024-01-03,94.3,95.9,93.4,94.2,5200,94.2,94.4\n",
        {"AAPL.O": TWO},
    ),
    "Refinitiv, several instruments": (
        "x.csv",
        "Universe,AAPL.O,AAPL.O,MSFT.O,MSFT.O\nField,TRDPRC_1,ACVOL_UNS,TRDPRC_1,ACVOL_UNS\nDate,,,,\n"
        "2024-01-02,95.6,7200,270.6,2100\n2024-01-03,94.3,5200,270.3,2300\n",
        {
            "AAPL.O": closes(("2024-01-02", 95.6), ("2024-01-03", 94.3)),
            "MSFT.O": closes(("2024-01-02", 270.6), ("2024-01-03", 270.3)),
        },
    ),
    "Bloomberg through xbbg, one ticker": (
        "x.csv",
        "ticker,AAPL US Equity,AAPL US Equity\nfield,last_price,volume\n2024-01-02,95.6,7200\n2024-01-03,94.3,5200\n",
        {"AAPL US Equity": closes(("2024-01-02", 95.6), ("2024-01-03", 94.3))},
    ),
    "CRSP, high and low of the day": (
        "x.csv",
        "PERMNO,date,TICKER,COMNAM,BIDLO,ASKHI,PRC,VOL,RET,OPENPRC,CFACPR,SHROUT\n14593,2024-01-02,AAPL,APPLE INC,93.9,98.4,95.6,7200,0.01,97.2,1,15500000\n"
        "14593,2024-01-03,AAPL,APPLE INC,93.4,95.9,94.3,5200,-0.01,94.2,1,15500000\n",
        {"AAPL": TWO},
    ),
    "AlgoSeek": (
        "x.csv",
        "Date,Ticker,TimeBarStart,FirstTradePrice,HighTradePrice,LowTradePrice,LastTradePrice,VolumeWeightPrice,Volume,TotalTrades\n"
        "20240102,AAPL,09:30,97.2,98.4,93.9,95.6,96,7200,300\n20240102,AAPL,09:31,94.2,95.9,93.4,94.3,95,5200,200\n",
        {"AAPL": MINUTES},
    ),
    "IEX, minutes": (
        "x.csv",
        "date,minute,label,high,low,open,close,average,volume,notional,numberOfTrades\n20240102,09:30,09:30 AM,98.4,93.9,97.2,95.6,96,7200,690000,300\n"
        "20240102,09:31,09:31 AM,95.9,93.4,94.2,94.3,95,5200,490000,200\n",
        {"x": MINUTES},
    ),
    "FXCM, sides and a time apart": (
        "x.csv",
        "Date,Time,OpenBid,HighBid,LowBid,CloseBid,OpenAsk,HighAsk,LowAsk,CloseAsk,Total Ticks\n"
        "01/16/2024,22:00:00,1.1042,1.1045,1.104,1.1043,1.1043,1.1046,1.1041,1.1044,30\n"
        "01/16/2024,22:01:00,1.1043,1.1045,1.104,1.1044,1.1044,1.1046,1.1041,1.1045,20\n",
        {
            "x Bid": closes(
                ("2024-01-16T22:00:00.000000000", 1.1043), ("2024-01-16T22:01:00.000000000", 1.1044)
            ),
            "x Ask": closes(
                ("2024-01-16T22:00:00.000000000", 1.1044), ("2024-01-16T22:01:00.000000000", 1.1045)
            ),
        },
    ),
    "Robinhood": (
        "x.csv",
        "begins_at,open_price,close_price,high_price,low_price,volume,session,interpolated,symbol\n2024-01-02T00:00:00Z,97.2,95.6,98.4,93.9,7200,reg,False,AAPL\n"
        "2024-01-03T00:00:00Z,94.2,94.3,95.9,93.4,5200,reg,False,AAPL\n",
        {"AAPL": TWO},
    ),
    "yfinance with repaired rows": (
        "x.csv",
        "Price,Close,High,Low,Open,Repaired?,Volume\nTicker,AAPL,AAPL,AAPL,AAPL,AAPL,AAPL\nDate,,,,,,\n"
        "2024-01-02,95.6,98.4,93.9,97.2,False,7200\n2024-01-03,94.3,95.9,93.4,94.2,True,5200\n",
        {"AAPL": TWO},
    ),
    "Binance, aggregated trades": (
        "x.csv",
        "agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,is_buyer_maker\n1,42300.1,0.5,3,3,1704067200000,true\n"
        "2,42300.2,0.75,4,4,1704067200100,false\n",
        {
            "x": [
                ("2024-01-01T00:00:00.000000000", {"close": 42300.1, "volume": 0.5}),
                ("2024-01-01T00:00:00.100000000", {"close": 42300.2, "volume": 0.75}),
            ]
        },
    ),
    "Kaggle, rates by currency": (
        "x.csv",
        "currency,base_currency,currency_name,exchange_rate,date\nZAR,EUR,South African Rand,19.4,2024-01-02\nUSD,EUR,United States Dollar,1.09,2024-01-02\n"
        "ZAR,EUR,South African Rand,19.5,2024-01-03\n",
        {
            "South African Rand": closes(("2024-01-02", 19.4), ("2024-01-03", 19.5)),
            "United States Dollar": closes(("2024-01-02", 1.09)),
        },
    ),
    "IG, sides of open, high, low and close": (
        "x.csv",
        "snapshotTime,openPrice.bid,openPrice.ask,closePrice.bid,closePrice.ask,highPrice.bid,highPrice.ask,lowPrice.bid,lowPrice.ask,lastTradedVolume\n"
        "2024-01-16T22:00:00,1,1.1,2,2.1,3,3.1,0.5,0.6,10\n2024-01-16T22:01:00,1,1.1,2.2,2.3,3,3.1,0.5,0.6,10\n",
        {
            "x bid": closes(("2024-01-16T22:00:00.000000000", 2), ("2024-01-16T22:01:00.000000000", 2.2)),
            "x ask": closes(("2024-01-16T22:00:00.000000000", 2.1), ("2024-01-16T22:01:00.000000000", 2.3)),
        },
    ),
    "Polygon, all shares of a day": (
        "x.csv",
        "T,v,vw,o,c,h,l,t,n\nAAPL,7200,96,97.2,95.6,98.4,93.9,1704153600000,1\nAAPL,5200,96,94.2,94.3,95.9,93.4,1704240000000,1\n"
        "MSFT,2100,271,273.6,270.6,275.6,266.5,1704153600000,1\n",
        {"AAPL": TWO, "MSFT": bars(("2024-01-02", 273.6, 275.6, 266.5, 270.6, 2100))},
    ),
    "Hyperliquid, times of begin and end": (
        "BTC.csv",
        "t,T,s,i,o,c,h,l,v,n\n1704153600000,1704239999999,BTC,1d,97.2,95.6,98.4,93.9,7200,90\n"
        "1704240000000,1704326399999,BTC,1d,94.2,94.3,95.9,93.4,5200,80\n",
        {"BTC": TWO},
    ),
    "Fyers, a list saved by pandas": (
        "x.csv",
        ",0,1,2,3,4,5\n0,1704153600,97.2,98.4,93.9,95.6,7200\n1,1704240000,94.2,95.9,93.4,94.3,5200\n",
        {"x": TWO},
    ),
    "Interactive Brokers, flex query": (
        "x.csv",
        "Symbol,Date/Time,Open,High,Low,Close,Volume\nAAPL,20240102;093000,97.2,98.4,93.9,95.6,7200\nAAPL,20240102;093100,94.2,95.9,93.4,94.3,5200\n",
        {"AAPL": MINUTES},
    ),
    "Zerodha, instruments": (
        "x.csv",
        "instrument_token,tradingsymbol,date,open,high,low,close,volume,oi\n738561,RELIANCE,2024-01-02 00:00:00+05:30,97.2,98.4,93.9,95.6,7200,0\n"
        "738561,RELIANCE,2024-01-03 00:00:00+05:30,94.2,95.9,93.4,94.3,5200,0\n",
        {"RELIANCE": TWO},
    ),
    # Central banks and power exchanges
    "Narodowy Bank Polski": (
        "archiwum_tab_a_2024.csv",
        "data;1THB;1USD;100HUF;nr tabeli;pełny numer tabeli;\n;bat (Tajlandia);dolar amerykański;forint (Węgry);;;\n"
        "20240102;0,1149;3,9432;1,1404;1;001/A/NBP/2024;\n20240103;0,1156;3,9909;1,1440;2;002/A/NBP/2024;\n;;;;;;\n"
        "kod ISO;THB;USD;HUF;;;\nnazwa waluty;bat;dolar amerykański;forint;;;\nliczba jednostek;1;1;100;;;\n",
        {
            "1THB": closes(("2024-01-02", 0.1149), ("2024-01-03", 0.1156)),
            "1USD": closes(("2024-01-02", 3.9432), ("2024-01-03", 3.9909)),
            "100HUF": closes(("2024-01-02", 1.1404), ("2024-01-03", 1.144)),
        },
    ),
    "Magyar Nemzeti Bank": (
        "x.csv",
        "Dátum;EUR;JPY;USD\nEgység;1;100;1\n2024.01.02.;381,36;244,52;347,16\n2024.01.03.;380,52;243,6;348,1\n",
        {
            "EUR": closes(("2024-01-02", 381.36), ("2024-01-03", 380.52)),
            "JPY": closes(("2024-01-02", 244.52), ("2024-01-03", 243.6)),
            "USD": closes(("2024-01-02", 347.16), ("2024-01-03", 348.1)),
        },
    ),
    "Bank of Russia": (
        "x.csv",
        "nominal;data;curs;cdx\n1;16.01.2024;87,6772;Доллар США\n1;17.01.2024;87,6457;Доллар США\n",
        {"x": closes(("2024-01-16", 87.6772), ("2024-01-17", 87.6457))},
    ),
    "Statistics Denmark": (
        "x.csv",
        "VALUTA;KURTYP;TID;INDHOLD\nUSD;KBH;2024M01D02;680,3\nEUR;KBH;2024M01D02;745,5\nUSD;KBH;2024M01D03;682,95\n",
        {
            "USD": closes(("2024-01-02", 680.3), ("2024-01-03", 682.95)),
            "EUR": closes(("2024-01-02", 745.5)),
        },
    ),
    "ENTSO-E": (
        "DE.csv",
        '"MTU (CET/CEST)","Day-ahead Price [EUR/MWh]","Currency","BZN|DE-LU"\n'
        '"01.01.2023 00:00 - 01.01.2023 01:00 (CET/CEST)","5.17","EUR",""\n"01.07.2023 01:00 - 01.07.2023 02:00 (CET/CEST)","1.07","EUR",""\n'
        '"01.07.2023 02:00 - 01.07.2023 03:00 (CET/CEST)","1.08","EUR",""\n',
        {
            "DE": closes(
                ("2022-12-31T23:00:00.000000000", 5.17),
                ("2023-06-30T23:00:00.000000000", 1.07),
                ("2023-07-01T00:00:00.000000000", 1.08),
            )
        },
    ),
    "ENTSO-E since 2024, hours that occur twice": (
        "DE.csv",
        '"MTU (CET/CEST)","Area","Day-ahead Price (EUR/MWh)"\n"29/10/2023 01:00:00 - 29/10/2023 02:00:00","BZN|DE-LU","2.16"\n'
        '"29/10/2023 02:00:00 (CEST) - 29/10/2023 02:00:00 (CET)","BZN|DE-LU","3"\n"29/10/2023 02:00:00 (CET) - 29/10/2023 03:00:00 (CET)","BZN|DE-LU","1.6"\n',
        {
            "DE": closes(
                ("2023-10-28T23:00:00.000000000", 2.16),
                ("2023-10-29T00:00:00.000000000", 3),
                ("2023-10-29T01:00:00.000000000", 1.6),
            )
        },
    ),
    "Ember, times in UTC beside local ones": (
        "x.csv",
        "Country,ISO3 Code,Datetime (UTC),Datetime (Local),Price (EUR/MWhe)\nAustria,AUT,2023-01-01 00:00:00,2023-01-01 01:00:00,15.48\n"
        "Austria,AUT,2023-01-01 01:00:00,2023-01-01 02:00:00,17.08\nBelgium,BEL,2023-01-01 00:00:00,2023-01-01 01:00:00,14.48\n",
        {
            "AUT": closes(("2023-01-01T00:00:00.000000000", 15.48), ("2023-01-01T01:00:00.000000000", 17.08)),
            "BEL": closes(("2023-01-01T00:00:00.000000000", 14.48)),
        },
    ),
    "SMARD": (
        "x.csv",
        "Datum von;Datum bis;Deutschland/Luxemburg [€/MWh] Berechnete Auflösungen\n16.01.2023 00:00;16.01.2023 01:00;5,17\n16.01.2023 01:00;16.01.2023 02:00;1,07\n",
        {
            "Deutschland/Luxemburg [€/MWh] Berechnete Auflösungen": closes(
                ("2023-01-16T00:00:00.000000000", 5.17), ("2023-01-16T01:00:00.000000000", 1.07)
            )
        },
    ),
    # Dates
    "weeks of ISO 8601": (
        "x.csv",
        "TIME_PERIOD,OBS_VALUE\n2020-W53,1\n2021-W01,2\n2021-W02,3\n",
        {"x": closes(("2020-12-28", 1), ("2021-01-04", 2), ("2021-01-11", 3))},
    ),
    "days of weeks of ISO 8601": (
        "x.csv",
        "Week,Close\n2024W015,1\n2024W025,2\n",
        {"x": closes(("2024-01-05", 1), ("2024-01-12", 2))},
    ),
    "years": ("x.csv", "Year,Close\n2019,1\n2020,2\n", {"x": closes(("2019-01-01", 1), ("2020-01-01", 2))}),
    "years of several symbols, saved by pandas": (
        "x.csv",
        "Date,AAPL,MSFT\n2019.0,10,20\n2020.0,11,21\n",
        {
            "AAPL": closes(("2019-01-01", 10), ("2020-01-01", 11)),
            "MSFT": closes(("2019-01-01", 20), ("2020-01-01", 21)),
        },
    ),
    "Shiller, months as fractions": (
        "x.csv",
        "Date,P,D,E\n1871.01,4.44,0.26,0.4\n1871.09,4.59,0.26,0.4\n1871.1,4.6,0.26,0.4\n1871.11,4.7,0.26,0.4\n1871.12,4.8,0.26,0.4\n",
        {
            "x": closes(
                ("1871-01-01", 4.44),
                ("1871-09-01", 4.59),
                ("1871-10-01", 4.6),
                ("1871-11-01", 4.7),
                ("1871-12-01", 4.8),
            )
        },
    ),
    "months without zeros, as fractions": (
        "x.csv",
        "Date,Close\n2023.1,1\n2023.2,2\n2023.10,3\n",
        {"x": closes(("2023-01-01", 1), ("2023-02-01", 2), ("2023-10-01", 3))},
    ),
    "years of the Buddhist calendar": (
        "x.csv",
        "Date,Close\n29/02/2567,95.6\n01/03/2567,94.3\n",
        {"x": closes(("2024-02-29", 95.6), ("2024-03-01", 94.3))},
    ),
    "seconds in scientific notation, whole": (
        "x.csv",
        "time,open,high,low,close,volume\n1.7041536E+09,97.2,98.4,93.9,95.6,7200\n1.70424E+09,94.2,95.9,93.4,94.3,5200\n",
        {"x": TWO},
    ),
    "nanoseconds as pandas prints them": (
        "x.csv",
        "time,open,high,low,close,volume\n1.7041536e+18,97.2,98.4,93.9,95.6,7200\n1.70424e+18,94.2,95.9,93.4,94.3,5200\n",
        {"x": TWO},
    ),
    "numpy.savetxt": (
        "x.csv",
        "# date,open,high,low,close\n2.024010200000000000e+07,9.720000000000000e+01,9.840000000000000e+01,9.390000000000000e+01,9.560000000000000e+01\n"
        "2.024010300000000000e+07,9.420000000000000e+01,9.590000000000000e+01,9.340000000000000e+01,9.430000000000000e+01\n",
        {"x": FOUR},
    ),
    "times in basic form": (
        "x.csv",
        "Date,Open,High,Low,Close,Volume\n20240102T093000Z,97.2,98.4,93.9,95.6,7200\n20240102T093100Z,94.2,95.9,93.4,94.3,5200\n",
        {"x": MINUTES},
    ),
    "the end of a day as 24:00": (
        "x.csv",
        "Date,Close\n2024-01-02 23:00,95.6\n2024-01-02 23:30,95.7\n2024-01-02 24:00,94.3\n",
        {
            "x": closes(
                ("2024-01-02T23:00:00.000000000", 95.6),
                ("2024-01-02T23:30:00.000000000", 95.7),
                ("2024-01-03T00:00:00.000000000", 94.3),
            )
        },
    ),
    "morning and afternoon in Chinese": (
        "x.csv",
        "日期,收盘\n2024/1/2 上午9:30:00,95.6\n2024/1/2 下午1:30:00,94.3\n2024/1/2 下午12:30:00,94.5\n",
        {
            "x": closes(
                ("2024-01-02T09:30:00.000000000", 95.6),
                ("2024-01-02T12:30:00.000000000", 94.5),
                ("2024-01-02T13:30:00.000000000", 94.3),
            )
        },
    ),
    "morning and afternoon in Korean": (
        "x.csv",
        "일자,종가\n2024-01-02 오전 9:30:00,95.6\n2024-01-02 오후 1:30:00,94.3\n",
        {"x": closes(("2024-01-02T09:30:00.000000000", 95.6), ("2024-01-02T13:30:00.000000000", 94.3))},
    ),
    "ordinal numbers": (
        "x.csv",
        'Date,Close\n"January 2nd, 2024",95.6\n"January 3rd, 2024",94.3\n',
        {"x": closes(("2024-01-02", 95.6), ("2024-01-03", 94.3))},
    ),
    "an apostrophe before the year": (
        "x.csv",
        "Date,Close\n02-Jan-'24,95.6\n03-Jan-'24,94.3\n",
        {"x": closes(("2024-01-02", 95.6), ("2024-01-03", 94.3))},
    ),
    "rows of empty cells among the others": (
        "x.csv",
        "Date,Open,High,Low,Close,Volume\n2024-01-02,97.2,98.4,93.9,95.6,7200\n,,,,,\n2024-01-03,94.2,95.9,93.4,94.3,5200\n,,,,,\n",
        {"x": TWO},
    ),
    "funds of one index, which have an order": (
        "x.csv",
        "Date,SPY,IVV,VOO,SPLG\n"
        + "".join(
            f"2024-01-{day:02},{470 + day},{480 + day},{430 + day},{450 + day}\n" for day in range(2, 14)
        ),
        {
            name: closes(*((f"2024-01-{day:02}", price + day) for day in range(2, 14)))
            for name, price in (("SPY", 470), ("IVV", 480), ("VOO", 430), ("SPLG", 450))
        },
    ),
    "intervals of ISO 8601": (
        "x.csv",
        "Time,Close\n2023-01-01T00:00Z/2023-01-01T01:00Z,5\n2023-01-01T01:00Z/2023-01-01T02:00Z,6\n",
        {"x": closes(("2023-01-01T00:00:00.000000000", 5), ("2023-01-01T01:00:00.000000000", 6))},
    ),
    "a zone in the header": (
        "x.csv",
        "Datetime (America/New_York),Close\n2024-01-02 09:30:00,1\n2024-07-02 09:30:00,2\n2024-07-02 09:31:00,3\n",
        {
            "x": closes(
                ("2024-01-02T14:30:00.000000000", 1),
                ("2024-07-02T13:30:00.000000000", 2),
                ("2024-07-02T13:31:00.000000000", 3),
            )
        },
    ),
    "an offset in the header": (
        "x.csv",
        "Time(UTC+8),Close\n2024-01-02 09:30:00,95.6\n2024-01-02 09:31:00,94.3\n",
        {"x": closes(("2024-01-02T01:30:00.000000000", 95.6), ("2024-01-02T01:31:00.000000000", 94.3))},
    ),
    "Goyal and Welch, months as digits": (
        "x.csv",
        "yyyymm,price,d12\n192601,12.65,0.69\n192602,11.9,0.7\n",
        {"x": closes(("1926-01-01", 12.65), ("1926-02-01", 11.9))},
    ),
    "a zone in parentheses": (
        "x.csv",
        "Time,Close\n2024-01-02 09:30:00 (CET),1\n2024-01-02 09:31:00 (CET),2\n",
        {"x": closes(("2024-01-02T08:30:00.000000000", 1), ("2024-01-02T08:31:00.000000000", 2))},
    ),
    # Without a header
    "no header, a date and a price": (
        "market-price.csv",
        "2024-01-02 00:00:00,44187.1\n2024-01-03 00:00:00,44957.9\n",
        {"market-price": closes(("2024-01-02", 44187.1), ("2024-01-03", 44957.9))},
    ),
    "no header, the date behind ISIN and name": (
        "x.csv",
        "BAACEZ,CZ0005112300,CEZ,2024/01/02,97.2,98.4,93.9,95.6,7200\nBAACEZ,CZ0005112300,CEZ,2024/01/03,94.2,95.9,93.4,94.3,5200\n",
        {"BAACEZ": TWO},
    ),
}
