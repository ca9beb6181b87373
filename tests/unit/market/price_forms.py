"""Files of prices as vendors and libraries write them, shortened, with made-up numbers; and what they mean.

A form is (name of the file, its text, by symbol its rows: a date or time and the values by column).
"""

from __future__ import annotations

from typing import Any

Rows = list[tuple[str, dict[str, float]]]
Form = tuple[str, str, dict[str, Rows]]

C = "close"


def closes(*rows: tuple[str, float]) -> Rows:
    """Rows of which only the close is told."""
    return [(date, {"close": value}) for date, value in rows]


def bars(*rows: Any) -> Rows:
    """Rows (date, open, high, low, close[, volume[, adj_close]])."""
    names = ("open", "high", "low", "close", "volume", "adj_close")
    return [(row[0], dict(zip(names, row[1:], strict=False))) for row in rows]


TWO = bars(("2024-01-02", 97.2, 98.4, 93.9, 95.6, 7200), ("2024-01-03", 94.2, 95.9, 93.4, 94.3, 5200))
MSFT = bars(("2024-01-02", 273.6, 275.6, 266.5, 270.6, 2100), ("2024-01-03", 268.7, 273, 268.2, 270.3, 2300))
INTRADAY = "2024-01-02T14:30:00.000000000"

FORMS: dict[str, Form] = {
    # yfinance
    "yfinance one ticker": (
        "x.csv",
        "Price,Adj Close,Close,High,Low,Open,Volume\nTicker,AAPL,AAPL,AAPL,AAPL,AAPL,AAPL\nDate,,,,,,\n"
        "2024-01-02,95.1,95.6,98.4,93.9,97.2,7200\n2024-01-03,93.8,94.3,95.9,93.4,94.2,5200\n",
        {
            "AAPL": bars(
                ("2024-01-02", 97.2, 98.4, 93.9, 95.6, 7200, 95.1),
                ("2024-01-03", 94.2, 95.9, 93.4, 94.3, 5200, 93.8),
            )
        },
    ),
    "yfinance with time zone": (
        "x.csv",
        "Price,Close,High,Low,Open,Volume\nTicker,AAPL,AAPL,AAPL,AAPL,AAPL\nDate,,,,,\n"
        "2024-03-08 00:00:00-05:00,95.6,98.4,93.9,97.2,7200\n2024-03-11 00:00:00-04:00,94.3,95.9,93.4,94.2,5200\n",
        {"AAPL": closes(("2024-03-08", 95.6), ("2024-03-11", 94.3))},
    ),
    "yfinance old, index without name": (
        "x.csv",
        ",Close,Close,Open,Open\n,AAPL,MSFT,AAPL,MSFT\nDate,,,,\n2024-01-02,95.6,270.6,97.2,273.6\n2024-01-03,94.3,,94.2,\n",
        {"AAPL": closes(("2024-01-02", 95.6), ("2024-01-03", 94.3)), "MSFT": closes(("2024-01-02", 270.6))},
    ),
    "yfinance two header rows": (
        "x.csv",
        "Price,Close,Close,High,High\nTicker,AAPL,MSFT,AAPL,MSFT\n2024-01-02,95.6,270.6,98.4,275.6\n2024-01-03,94.3,270.3,95.9,273\n",
        {
            "AAPL": closes(("2024-01-02", 95.6), ("2024-01-03", 94.3)),
            "MSFT": closes(("2024-01-02", 270.6), ("2024-01-03", 270.3)),
        },
    ),
    "yfinance group_by ticker without index row": (
        "x.csv",
        "Ticker,MSFT,MSFT,MSFT,MSFT,MSFT,AAPL,AAPL,AAPL,AAPL,AAPL\n"
        "Price,Open,High,Low,Close,Volume,Open,High,Low,Close,Volume\n"
        "2024-01-02,273.6,275.6,266.5,270.6,2100,97.2,98.4,93.9,95.6,7200\n"
        "2024-01-03,268.7,273,268.2,270.3,2300,94.2,95.9,93.4,94.3,5200\n",
        {"MSFT": MSFT, "AAPL": TWO},
    ),
    "yfinance reset_index of several": (
        "x.csv",
        "Price,Date,Close,Close,Open,Open\nTicker,,AAPL,MSFT,AAPL,MSFT\n0,2024-01-02,95.6,270.6,97.2,273.6\n"
        "1,2024-01-03,94.3,270.3,94.2,268.7\n",
        {
            "AAPL": closes(("2024-01-02", 95.6), ("2024-01-03", 94.3)),
            "MSFT": closes(("2024-01-02", 270.6), ("2024-01-03", 270.3)),
        },
    ),
    "yfinance reset_index, no index": (
        "x.csv",
        "Datetime,Close,High,Low,Open,Volume\n,AAPL,AAPL,AAPL,AAPL,AAPL\n2024-01-02 14:30:00+00:00,95.6,98.4,93.9,97.2,7200\n"
        "2024-01-02 14:31:00+00:00,94.3,95.9,93.4,94.2,5200\n",
        {"AAPL": closes((INTRADAY, 95.6), ("2024-01-02T14:31:00.000000000", 94.3))},
    ),
    "yfinance stacked": (
        "x.csv",
        "Date,Ticker,Adj Close,Close,High,Low,Open,Volume\n2024-01-02,AAPL,95.1,95.6,98.4,93.9,97.2,7200\n"
        "2024-01-02,MSFT,270.1,270.6,275.6,266.5,273.6,2100\n2024-01-03,AAPL,93.8,94.3,95.9,93.4,94.2,5200\n",
        {"AAPL": closes(("2024-01-02", 95.6), ("2024-01-03", 94.3)), "MSFT": closes(("2024-01-02", 270.6))},
    ),
    "yfinance history": (
        "AAPL.csv",
        "Date,Open,High,Low,Close,Volume,Dividends,Stock Splits\n2024-01-02 00:00:00-05:00,97.2,98.4,93.9,95.6,7200,0.0,0.0\n"
        "2024-01-03 00:00:00-05:00,94.2,95.9,93.4,94.3,5200,0.24,0.0\n",
        {"AAPL": TWO},
    ),
    "Yahoo's page, its dividends and splits in rows of two cells": (
        "KO.csv",
        'Date,Open,High,Low,Close,Volume\n"Jan 3, 2024",94.2,95.9,93.4,94.3,"5,200"\n"Jan 3, 2024",0.46 Dividend\n'
        '"Jan 3, 2024",2:1 Stock Splits\n"Jan 2, 2024",97.2,98.4,93.9,95.6,"7,200"\n',
        {"KO": TWO},
    ),
    "a line with a date above the header, as exports have it": (
        "NESN.csv",
        "Historical prices,,,,,\nSource: a vendor,,Exported,2024-03-01 12:00:00,,\n,,,,,\n"
        "Date,PX_OPEN,PX_HIGH,PX_LOW,PX_LAST,PX_VOLUME\n2024-01-02,97.2,98.4,93.9,95.6,7200\n"
        "2024-01-03,94.2,95.9,93.4,94.3,5200\n",
        {"NESN": TWO},
    ),
    "yfinance intraday across summer time": (
        "AAPL.csv",
        "Datetime,Open,High,Low,Close,Volume\n2024-03-08 15:30:00-05:00,97.2,98.4,93.9,95.6,7200\n"
        "2024-03-08 15:45:00-05:00,97.2,98.4,93.9,95.5,7200\n2024-03-11 09:30:00-04:00,94.2,95.9,93.4,94.3,5200\n",
        {
            "AAPL": closes(
                ("2024-03-08T20:30:00.000000000", 95.6),
                ("2024-03-08T20:45:00.000000000", 95.5),
                ("2024-03-11T13:30:00.000000000", 94.3),
            )
        },
    ),
    "yfinance flat, field first": (
        "x.csv",
        "Date,Close_AAPL,Close_BRK-B,High_AAPL,High_BRK-B,Volume_AAPL,Volume_BRK-B\n2024-01-02,95.6,361,98.4,362,7200,300\n"
        "2024-01-03,94.3,362,95.9,363,5200,310\n",
        {
            "AAPL": closes(("2024-01-02", 95.6), ("2024-01-03", 94.3)),
            "BRK-B": closes(("2024-01-02", 361), ("2024-01-03", 362)),
        },
    ),
    "yfinance flat, ticker first": (
        "x.csv",
        "Date,AAPL_Open,AAPL_High,AAPL_Low,AAPL_Close,AAPL_Adj Close,AAPL_Volume\n2024-01-02,97.2,98.4,93.9,95.6,95.1,7200\n",
        {"AAPL": bars(("2024-01-02", 97.2, 98.4, 93.9, 95.6, 7200, 95.1))},
    ),
    "yfinance flat with spaces": (
        "x.csv",
        "Date,Close AAPL,Open AAPL,Close LOW,Open LOW\n2024-01-02,95.6,97.2,219.1,218\n2024-01-03,94.3,94.2,214.6,219\n",
        {
            "AAPL": closes(("2024-01-02", 95.6), ("2024-01-03", 94.3)),
            "LOW": closes(("2024-01-02", 219.1), ("2024-01-03", 214.6)),
        },
    ),
    "yfinance tuples, ticker first": (
        "x.csv",
        "Date,\"('LOW', 'Open')\",\"('LOW', 'Close')\",\"('OPEN', 'Open')\",\"('OPEN', 'Close')\"\n2024-01-02,218,219.1,2,2.1\n",
        {"LOW": closes(("2024-01-02", 219.1)), "OPEN": closes(("2024-01-02", 2.1))},
    ),
    "joined names of tickers that are words for prices": (
        "x.csv",
        "Date,Close_C,Close_V,Close_LOW\n2024-01-02,52.5,260.5,219.1\n",
        {
            "C": closes(("2024-01-02", 52.5)),
            "V": closes(("2024-01-02", 260.5)),
            "LOW": closes(("2024-01-02", 219.1)),
        },
    ),
    "yfinance tuples with date tuple": (
        "x.csv",
        "\"('Date', '')\",\"('Close', 'AAPL')\",\"('Volume', 'AAPL')\"\n2024-01-02,95.6,7200\n2024-01-03,94.3,5200\n",
        {"AAPL": closes(("2024-01-02", 95.6), ("2024-01-03", 94.3))},
    ),
    "yfinance read back and saved again": (
        "x.csv",
        "Price,Close,Close.1,High,High.1\nTicker,AAPL,MSFT,AAPL,MSFT\nDate,,,,\n2024-01-02,95.6,270.6,98.4,275.6\n",
        {"AAPL": closes(("2024-01-02", 95.6)), "MSFT": closes(("2024-01-02", 270.6))},
    ),
    "yfinance read back with its index": (
        "x.csv",
        ",Price,Close,High,Low,Open,Volume\n0,Ticker,AAPL,AAPL,AAPL,AAPL,AAPL\n1,Date,,,,,\n"
        "2,2024-01-02,95.6,98.4,93.9,97.2,7200\n3,2024-01-03,94.3,95.9,93.4,94.2,5200\n",
        {"AAPL": TWO},
    ),
    "yfinance unnamed index": (
        "AAPL.csv",
        "Unnamed: 0,Open,High,Low,Close,Volume\n2024-01-02,97.2,98.4,93.9,95.6,7200\n2024-01-03,94.2,95.9,93.4,94.3,5200\n",
        {"AAPL": TWO},
    ),
    "yfinance group_by ticker, intraday, a ticker without prices": (
        "x.csv",
        "Ticker,ZZZ,ZZZ,AAPL,AAPL\nPrice,Close,Volume,Close,Volume\nDatetime,,,,\n2024-01-02 14:30:00+00:00,,,95.6,7200\n"
        "2024-01-02 14:31:00+00:00,,,94.3,5200\n",
        {"AAPL": closes((INTRADAY, 95.6), ("2024-01-02T14:31:00.000000000", 94.3))},
    ),
    "yfinance live row": (
        "AAPL.csv",
        "Date,Open,High,Low,Close,Volume\n2024-01-02 00:00:00-05:00,97.2,98.4,93.9,95.6,7200\n"
        "2024-01-03 00:00:00-05:00,94.2,95.9,93.4,94.3,5200\n2024-01-04 11:02:33-05:00,94,95,93,94.5,900\n",
        {"AAPL": closes(("2024-01-02", 95.6), ("2024-01-03", 94.3), ("2024-01-04", 94.5))},
    ),
    "pandas-datareader": (
        "x.csv",
        "Attributes,Adj Close,Adj Close,Close,Close,High,High\nSymbols,AAPL,MSFT,AAPL,MSFT,AAPL,MSFT\nDate,,,,,,\n"
        "2024-01-02,95.1,270.1,95.6,270.6,98.4,275.6\n2024-01-03,93.8,269.8,94.3,270.3,95.9,273\n",
        {
            "AAPL": closes(("2024-01-02", 95.6), ("2024-01-03", 94.3)),
            "MSFT": closes(("2024-01-02", 270.6), ("2024-01-03", 270.3)),
        },
    ),
    "pandas-datareader, only closes": (
        "x.csv",
        "Symbols,AAPL,MSFT\nDate,,\n2024-01-02,95.6,270.6\n2024-01-03,94.3,270.3\n",
        {
            "AAPL": closes(("2024-01-02", 95.6), ("2024-01-03", 94.3)),
            "MSFT": closes(("2024-01-02", 270.6), ("2024-01-03", 270.3)),
        },
    ),
    "yfinance closes with the level's name": (
        "x.csv",
        "Ticker,AAPL,MSFT\nDate,,\n2024-01-02,95.6,270.6\n2024-01-03,94.3,270.3\n",
        {
            "AAPL": closes(("2024-01-02", 95.6), ("2024-01-03", 94.3)),
            "MSFT": closes(("2024-01-02", 270.6), ("2024-01-03", 270.3)),
        },
    ),
    # vendors
    "Stooq": (
        "aapl_us_d.csv",
        "Date,Open,High,Low,Close,Volume\n2024-01-02,97.2,98.4,93.9,95.6,7200\n2024-01-03,94.2,95.9,93.4,94.3,5200\n",
        {"aapl_us_d": TWO},
    ),
    "Stooq Polish": (
        "cdr.csv",
        "Data,Otwarcie,Najwyzszy,Najnizszy,Zamkniecie,Wolumen\n2024-01-02,97.2,98.4,93.9,95.6,7200\n"
        "2024-01-03,94.2,95.9,93.4,94.3,5200\n",
        {"cdr": TWO},
    ),
    "Stooq bulk, five minutes": (
        "aapl.us.txt",
        "<TICKER>,<PER>,<DATE>,<TIME>,<OPEN>,<HIGH>,<LOW>,<CLOSE>,<VOL>,<OPENINT>\n"
        "AAPL.US,5,20240102,153500,97.2,98.4,93.9,95.6,7200,0\nAAPL.US,5,20240102,154000,94.2,95.9,93.4,94.3,5200,0\n",
        {"AAPL.US": closes(("2024-01-02T15:35:00.000000000", 95.6), ("2024-01-02T15:40:00.000000000", 94.3))},
    ),
    "Alpha Vantage CSV": (
        "daily_IBM.csv",
        "timestamp,open,high,low,close,adjusted_close,volume,dividend_amount,split_coefficient\n"
        "2024-01-03,94.2,95.9,93.4,94.3,93.8,5200,0.0000,1.0\n2024-01-02,97.2,98.4,93.9,95.6,95.1,7200,0.0000,1.0\n",
        {
            "daily_IBM": bars(
                ("2024-01-02", 97.2, 98.4, 93.9, 95.6, 7200, 95.1),
                ("2024-01-03", 94.2, 95.9, 93.4, 94.3, 5200, 93.8),
            )
        },
    ),
    "Alpha Vantage numbered, index without name": (
        "IBM.csv",
        ",1. open,2. high,3. low,4. close,5. adjusted close,6. volume,7. dividend amount,8. split coefficient\n"
        "2024-01-03,94.2,95.9,93.4,94.3,93.8,5200,0.0,1.0\n2024-01-02,97.2,98.4,93.9,95.6,95.1,7200,0.0,1.0\n",
        {
            "IBM": bars(
                ("2024-01-02", 97.2, 98.4, 93.9, 95.6, 7200, 95.1),
                ("2024-01-03", 94.2, 95.9, 93.4, 94.3, 5200, 93.8),
            )
        },
    ),
    "Nasdaq.com": (
        "HistoricalData_1.csv",
        "Date,Close/Last,Volume,Open,High,Low\n01/16/2024,$1095.60,7200,$1097.20,$1098.40,$1093.90\n"
        "01/12/2024,$94.30,5200,$94.20,$95.90,$93.40\n",
        {"HistoricalData_1": closes(("2024-01-12", 94.3), ("2024-01-16", 1095.6))},
    ),
    "Nasdaq.com index without volume": (
        "x.csv",
        "Date,Close/Last,Open,High,Low\n01/16/2024,14944.35,14965.67,15062.67,14904.79\n01/12/2024,14972.76,15000.1,15047.9,14925.4\n",
        {"x": closes(("2024-01-12", 14972.76), ("2024-01-16", 14944.35))},
    ),
    "Investing.com": (
        "AAPL Historical Data.csv",
        '\ufeff"Date","Price","Open","High","Low","Vol.","Change %"\n"01/16/2024","95.60","97.20","98.40","93.90","65.60M","-1.23%"\n'
        '"01/12/2024","94.30","94.20","95.90","93.40","","0.18%"\n',
        {"AAPL Historical Data": closes(("2024-01-12", 94.3), ("2024-01-16", 95.6))},
    ),
    "Investing.com German": (
        "dax.csv",
        '"Datum","Zuletzt","Eröffn.","Hoch","Tief","Vol.","+/- %"\n"16.01.2024","16.571,68","16.600,10","16.637,52","16.498,90",'
        '"58,12M","-0,30%"\n"15.01.2024","16.622,22","16.690,00","16.713,90","16.590,01","45,20M","-0,49%"\n',
        {
            "dax": bars(
                ("2024-01-15", 16690.0, 16713.9, 16590.01, 16622.22, 45200000),
                ("2024-01-16", 16600.1, 16637.52, 16498.9, 16571.68, 58120000),
            )
        },
    ),
    "Investing.com French": (
        "cac.csv",
        '"Date","Dernier","Ouv."," Plus Haut","Plus Bas","Vol.","Variation %"\n"16/01/2024","7.398,00","7.400,10","7.412,52",'
        '"7.370,90","58,12M","-0,18%"\n"15/01/2024","7.411,68","7.440,00","7.450,90","7.400,01","45,20M","-0,72%"\n',
        {"cac": closes(("2024-01-15", 7411.68), ("2024-01-16", 7398))},
    ),
    "Investing.com Spanish": (
        "ibex.csv",
        '"Fecha","Último","Apertura","Máximo","Mínimo","Vol.","% var."\n"16.01.2024","9.998,10","10.040,00","10.060,20",'
        '"9.950,40","120,53M","-0,78%"\n"15.01.2024","10.077,00","10.088,40","10.110,70","10.020,30","98,21M","-0,17%"\n',
        {
            "ibex": bars(
                ("2024-01-15", 10088.4, 10110.7, 10020.3, 10077, 98210000),
                ("2024-01-16", 10040, 10060.2, 9950.4, 9998.1, 120530000),
            )
        },
    ),
    "Investing.com Italian": (
        "mib.csv",
        '"Data","Ultimo","Apertura","Massimo","Minimo","Vol.","Var. %"\n"16.01.2024","30,95","31,00","31,20","30,80","1,2B","-0,2%"\n',
        {"mib": bars(("2024-01-16", 31, 31.2, 30.8, 30.95, 1.2e9))},
    ),
    "Investing.com Portuguese": (
        "petr4.csv",
        '"Data","Último","Abertura","Máxima","Mínima","Vol.","Var%"\n"16.01.2024","37,95","38,00","38,20","37,80","51,20M","-0,2%"\n',
        {"petr4": bars(("2024-01-16", 38, 38.2, 37.8, 37.95, 51200000))},
    ),
    "Investing.com Dutch": (
        "aex.csv",
        '"Datum","Laatst","Open","Hoog","Laag","Vol.","Wijz. %"\n"16-1-2024","777,95","778,00","779,20","775,80","51,20M","-0,2%"\n',
        {"aex": bars(("2024-01-16", 778, 779.2, 775.8, 777.95, 51200000))},
    ),
    "Investing.com Polish": (
        "wig.csv",
        '"Data","Ostatnio","Otwarcie","Max.","Min.","Wol.","Zmiana%"\n"16.01.2024","2 277,95","2 278,00","2 279,20","2 275,80",'
        '"51,20M","-0,2%"\n',
        {"wig": bars(("2024-01-16", 2278, 2279.2, 2275.8, 2277.95, 51200000))},
    ),
    "Investing.com Russian": (
        "sber.csv",
        '"Дата","Цена","Откр.","Макс.","Мин.","Объём","Изм. %"\n"16.01.2024","277,95","278,00","279,20","275,80","51,20M","-0,2%"\n',
        {"sber": bars(("2024-01-16", 278, 279.2, 275.8, 277.95, 51200000))},
    ),
    "Investing.com Turkish": (
        "thyao.csv",
        '"Tarih","Şimdi","Açılış","Yüksek","Düşük","Hac.","Fark %"\n"16.01.2024","277,95","278,00","279,20","275,80","51,20M","-0,2%"\n',
        {"thyao": bars(("2024-01-16", 278, 279.2, 275.8, 277.95, 51200000))},
    ),
    "Investing.com Japanese": (
        "7203.csv",
        '"日付け","終値","始値","高値","安値","出来高","変化率 %"\n"2024年01月16日","2,795.0","2,780.5","2,800.0","2,775.0","51.20M","-0.2%"\n',
        {"7203": bars(("2024-01-16", 2780.5, 2800, 2775, 2795, 51200000))},
    ),
    "Investing.com Chinese": (
        "sh.csv",
        '"日期","收盘","开盘","高","低","交易量","涨跌幅"\n"2024-1-16","2,893.99","2,878.05","2,895.24","2,858.12","28.76B","0.27%"\n',
        {"sh": bars(("2024-01-16", 2878.05, 2895.24, 2858.12, 2893.99, 28.76e9))},
    ),
    "Investing.com Korean": (
        "005930.csv",
        '"날짜","종가","시가","고가","저가","거래량","변동 %"\n"2024- 01- 16","72,600","73,500","73,700","72,500","14.76M","-1.76%"\n',
        {"005930": bars(("2024-01-16", 73500, 73700, 72500, 72600, 14760000))},
    ),
    "Kaggle, S&P 500 for five years": (
        "all.csv",
        "date,open,high,low,close,volume,Name\n2013-02-08,15.07,15.12,14.63,14.75,8407500,AAL\n2013-02-11,14.89,15.01,14.26,14.46,8882000,AAL\n"
        "2013-02-08,67.71,68.40,66.89,67.85,158168416,AAPL\n",
        {"AAL": closes(("2013-02-08", 14.75), ("2013-02-11", 14.46)), "AAPL": closes(("2013-02-08", 67.85))},
    ),
    "Kaggle, NYSE": (
        "prices.csv",
        "date,symbol,open,close,low,high,volume\n2016-01-05 00:00:00,WLTW,123.43,125.84,122.31,126.25,2163600.0\n"
        "2016-01-06 00:00:00,WLTW,125.24,119.98,119.94,125.54,2386400.0\n",
        {
            "WLTW": bars(
                ("2016-01-05", 123.43, 126.25, 122.31, 125.84, 2163600),
                ("2016-01-06", 125.24, 125.54, 119.94, 119.98, 2386400),
            )
        },
    ),
    "Kaggle, huge stock market": (
        "aapl.us.txt",
        "Date,Open,High,Low,Close,Volume,OpenInt\n1984-09-07,0.42388,0.42902,0.41874,0.42388,23220030,0\n",
        {"aapl.us": bars(("1984-09-07", 0.42388, 0.42902, 0.41874, 0.42388, 23220030))},
    ),
    "Kaggle, Bitcoin by the minute": (
        "btc.csv",
        "Timestamp,Open,High,Low,Close,Volume_(BTC),Volume_(Currency),Weighted_Price\n1325317920,4.39,4.39,4.39,4.39,0.45558087,2.0,4.39\n"
        "1325317980,NaN,NaN,NaN,NaN,NaN,NaN,NaN\n1325318040.0,4.5,4.57,4.5,4.57,37.8,171.4,4.53\n",
        {
            "btc": bars(
                ("2011-12-31T07:52:00.000000000", 4.39, 4.39, 4.39, 4.39, 0.45558087),
                ("2011-12-31T07:54:00.000000000", 4.5, 4.57, 4.5, 4.57, 37.8),
            )
        },
    ),
    "Kaggle, NIFTY 50": (
        "n.csv",
        "Date,Symbol,Series,Prev Close,Open,High,Low,Last,Close,VWAP,Volume,Turnover,Trades,Deliverable Volume,%Deliverble\n"
        "2007-11-27,MUNDRAPORT,EQ,440.0,770.0,1050.0,770.0,959.0,962.9,984.72,27294366,2.68e15,,9859619,0.3612\n",
        {"MUNDRAPORT": bars(("2007-11-27", 770, 1050, 770, 962.9, 27294366))},
    ),
    "NSE bhavcopy": (
        "cm02JAN2024bhav.csv",
        "SYMBOL,SERIES,OPEN,HIGH,LOW,CLOSE,LAST,PREVCLOSE,TOTTRDQTY,TOTTRDVAL,TIMESTAMP,TOTALTRADES,ISIN,\n"
        "20MICRONS,EQ,170,172.5,168,169.6,169.2,170.1,520000,88000000.5,02-JAN-2024,8100,INE144J01027,\n"
        "SGBAUG24,GB,6300,6320,6290,6310,6310,6300,52,328000,02-JAN-2024,20,IN0020160035,\n",
        {"20MICRONS": bars(("2024-01-02", 170, 172.5, 168, 169.6, 520000))},
    ),
    "NSE bhavdata_full": (
        "sec.csv",
        "SYMBOL, SERIES, DATE1, PREV_CLOSE, OPEN_PRICE, HIGH_PRICE, LOW_PRICE, LAST_PRICE, CLOSE_PRICE, AVG_PRICE, TTL_TRD_QNTY, "
        "TURNOVER_LACS, NO_OF_TRADES, DELIV_QTY, DELIV_PER\n20MICRONS, EQ, 02-Jan-2024, 170.1, 170, 172.5, 168, 169.2, 169.6, "
        "170, 520000, 880.0, 8100, -, -\n",
        {"20MICRONS": bars(("2024-01-02", 170, 172.5, 168, 169.6, 520000))},
    ),
    "NSE bhavcopy since 2024": (
        "BhavCopy_NSE_CM.csv",
        "TradDt,BizDt,Sgmt,Src,FinInstrmTp,FinInstrmId,ISIN,TckrSymb,SctySrs,XpryDt,StrkPric,OptnTp,FinInstrmNm,OpnPric,HghPric,LwPric,"
        "ClsPric,LastPric,PrvsClsgPric,UndrlygPric,SttlmPric,OpnIntrst,ChngInOpnIntrst,TtlTradgVol,TtlTrfVal\n"
        "2024-07-08,2024-07-08,CM,NSE,STK,16921,INE144J01027,20MICRONS,EQ,,,,20 MICRONS LTD,170,172.5,168,169.6,169.2,170.1,,169.6,,,520000,88000000\n",
        {"20MICRONS": bars(("2024-07-08", 170, 172.5, 168, 169.6, 520000))},
    ),
    "NSE one share": (
        "RELIANCE.csv",
        '"Date ","series ","OPEN ","HIGH ","LOW ","PREV. CLOSE ","ltp ","close ","vwap ","52W H","52W L ","VOLUME ","VALUE ","No of trades "\n'
        '"02-Jan-2024","EQ","2,597.20","2,598.40","2,593.90","2,584.95","2,596.00","2,595.60","2,595.00","2,856.00","2,180.00","37,72,043","9,81,23,45,678.90","1,72,043"\n',
        {"RELIANCE": bars(("2024-01-02", 2597.2, 2598.4, 2593.9, 2595.6, 3772043))},
    ),
    "BSE one share": (
        "500325.csv",
        "Date,Open Price,High Price,Low Price,Close Price,WAP,No.of Shares,No. of Trades,Total Turnover (Rs.),Deliverable Quantity\n"
        "2-January-2024,2597.20,2598.40,2593.90,2595.60,2595.01,272043,8100,705000000,120000,\n",
        {"500325": bars(("2024-01-02", 2597.2, 2598.4, 2593.9, 2595.6, 272043))},
    ),
    "JPX": (
        "stock_prices.csv",
        "RowId,Date,SecuritiesCode,Open,High,Low,Close,Volume,AdjustmentFactor,ExpectedDividend,SupervisionFlag,Target\n"
        "20170104_1301,2017-01-04,1301,2734.0,2755.0,2730.0,2742.0,31400,1.0,,False,0.00073\n"
        "20170104_1332,2017-01-04,1332,568.0,576.0,563.0,571.0,2798500,1.0,,False,0.012\n"
        "20170105_1301,2017-01-05,1301,,,,,0,1.0,,False,0.0\n",
        {
            "1301": bars(("2017-01-04", 2734, 2755, 2730, 2742, 31400)),
            "1332": bars(("2017-01-04", 568, 576, 563, 571, 2798500)),
        },
    ),
    "tushare": (
        "daily.csv",
        ",ts_code,trade_date,open,high,low,close,pre_close,change,pct_chg,vol,amount\n"
        "0,000001.SZ,20240103,9.19,9.22,9.15,9.2,9.21,-0.01,-0.1086,733610.31,673673.611\n"
        "1,000001.SZ,20240102,9.39,9.42,9.21,9.21,9.39,-0.18,-1.9169,1158366.45,1075742.252\n",
        {"000001.SZ": closes(("2024-01-02", 9.21), ("2024-01-03", 9.2))},
    ),
    "baostock": (
        "k.csv",
        "date,code,open,high,low,close,preclose,volume,amount,adjustflag,turn,tradestatus,pctChg,isST\n"
        "2024-01-02,sh.600000,6.6300,6.6600,6.5900,6.6000,6.6200,22046800,145892103.88,3,0.075100,1,-0.302100,0\n",
        {"sh.600000": bars(("2024-01-02", 6.63, 6.66, 6.59, 6.6, 22046800))},
    ),
    "akshare": (
        "000001.csv",
        "日期,股票代码,开盘,收盘,最高,最低,成交量,成交额,振幅,涨跌幅,涨跌额,换手率\n2024-01-02,000001,9.39,9.21,9.42,9.21,1158366,1075742252.45,2.24,-1.92,-0.18,0.6\n",
        {"000001": bars(("2024-01-02", 9.39, 9.42, 9.21, 9.21, 1158366))},
    ),
    "163.com": (
        "600519.csv",
        "日期,股票代码,名称,收盘价,最高价,最低价,开盘价,前收盘,涨跌额,涨跌幅,换手率,成交量,成交金额\n"
        "2024-01-03,'600519,贵州茅台,1694.0,1695.2,1676.3,1681.1,1685.0,8.9,0.53,0.16,2022929,3411400700.0\n"
        "2024-01-02,'600519,贵州茅台,1685.0,1718.2,1678.1,1715.0,1726.0,-41.0,None,0.26,3215644,5440082548.0\n",
        {"600519": closes(("2024-01-02", 1685.0), ("2024-01-03", 1694.0))},
    ),
    "Quandl WIKI": (
        "WIKI.csv",
        "ticker,date,open,high,low,close,volume,ex-dividend,split_ratio,adj_open,adj_high,adj_low,adj_close,adj_volume\n"
        "A,1999-11-18,45.5,50.0,40.0,44.0,44739900.0,0.0,1.0,31.04,34.11,27.28,30.02,44739900.0\n",
        {"A": bars(("1999-11-18", 45.5, 50, 40, 44, 44739900, 30.02))},
    ),
    "Quandl NSE": (
        "NSE-TATAGLOBAL.csv",
        "Date,Open,High,Low,Last,Close,Total Trade Quantity,Turnover (Lacs)\n2018-10-08,208.0,222.25,206.85,216.0,215.15,4642146.0,10062.83\n",
        {"NSE-TATAGLOBAL": bars(("2018-10-08", 208, 222.25, 206.85, 215.15, 4642146))},
    ),
    "Quandl CHRIS": (
        "CHRIS-CME_CL1.csv",
        "Date,Open,High,Low,Last,Change,Settle,Volume,Previous Day Open Interest\n2018-10-08,74.2,74.6,73.1,74.3,-0.05,74.29,561000.0,318000.0\n",
        {"CHRIS-CME_CL1": bars(("2018-10-08", 74.2, 74.6, 73.1, 74.29, 561000))},
    ),
    "quantmod write.zoo": (
        "x.csv",
        '"Index","AAPL.Open","AAPL.High","AAPL.Low","AAPL.Close","AAPL.Volume","AAPL.Adjusted"\n2024-01-02,97.2,98.4,93.9,95.6,7200,95.1\n',
        {"AAPL": bars(("2024-01-02", 97.2, 98.4, 93.9, 95.6, 7200, 95.1))},
    ),
    "quantmod write.csv with row names": (
        "x.csv",
        '"","BRK.B.Open","BRK.B.High","BRK.B.Low","BRK.B.Close","BRK.B.Volume","BRK.B.Adjusted"\n"2024-01-02",361,363,360,362,7200,362\n',
        {"BRK.B": bars(("2024-01-02", 361, 363, 360, 362, 7200, 362))},
    ),
    "quantmod write.table": (
        "x.csv",
        '"AAPL.Open","AAPL.High","AAPL.Low","AAPL.Close","AAPL.Volume","AAPL.Adjusted"\n"2024-01-02",97.2,98.4,93.9,95.6,7200,95.1\n'
        '"2024-01-03",94.2,95.9,93.4,94.3,5200,93.8\n',
        {
            "AAPL": bars(
                ("2024-01-02", 97.2, 98.4, 93.9, 95.6, 7200, 95.1),
                ("2024-01-03", 94.2, 95.9, 93.4, 94.3, 5200, 93.8),
            )
        },
    ),
    "quantmod write.table, spaces": (
        "x.txt",
        '"AAPL.Open" "AAPL.High" "AAPL.Low" "AAPL.Close" "AAPL.Volume" "AAPL.Adjusted"\n"2024-01-02" 97.2 98.4 93.9 95.6 7200 95.1\n'
        '"2024-01-03" 94.2 95.9 93.4 94.3 5200 93.8\n',
        {
            "AAPL": bars(
                ("2024-01-02", 97.2, 98.4, 93.9, 95.6, 7200, 95.1),
                ("2024-01-03", 94.2, 95.9, 93.4, 94.3, 5200, 93.8),
            )
        },
    ),
    "spaces": (
        "x.txt",
        "Date Open High Low Close Volume\n2024-01-02 97.2 98.4 93.9 95.6 7200\n2024-01-03 94.2 95.9 93.4 94.3 5200\n",
        {"x": TWO},
    ),
    "adjusted close in parentheses": (
        "x.csv",
        "Date,Open,High,Low,Close,Volume,Close (adjusted)\n2024-01-02,97.2,98.4,93.9,95.6,7200,95.1\n",
        {"x": bars(("2024-01-02", 97.2, 98.4, 93.9, 95.6, 7200, 95.1))},
    ),
    "Kaggle, indices": (
        "indexProcessed.csv",
        "Index,Date,Open,High,Low,Close,Adj Close,Volume,CloseUSD\nHSI,1986-12-31,2568.3,2568.3,2568.3,2568.3,2568.3,0.0,333.879\nHSI,1987-01-02,2540.1,2540.1,2540.1,2540.1,2540.1,0.0,330.213\n"
        "NYA,1986-12-31,138.58,138.58,138.58,138.58,138.58,0.0,138.58\n",
        {
            "HSI": closes(("1986-12-31", 2568.3), ("1987-01-02", 2540.1)),
            "NYA": closes(("1986-12-31", 138.58)),
        },
    ),
    "Kaggle, Indian minutes": (
        "NIFTY.csv",
        "date,open,high,low,close,volume\n2015-02-02 09:15:00+05:30,97.2,98.4,93.9,95.6,7200\n2015-02-02 09:16:00+05:30,94.2,95.9,93.4,94.3,5200\n",
        {"NIFTY": closes(("2015-02-02T03:45:00.000000000", 95.6), ("2015-02-02T03:46:00.000000000", 94.3))},
    ),
    "tidyquant": (
        "x.csv",
        "symbol,date,open,high,low,close,volume,adjusted\nAAPL,2024-01-02,97.2,98.4,93.9,95.6,7200,95.1\nMSFT,2024-01-02,273.6,275.6,266.5,270.6,2100,270.1\n",
        {
            "AAPL": bars(("2024-01-02", 97.2, 98.4, 93.9, 95.6, 7200, 95.1)),
            "MSFT": bars(("2024-01-02", 273.6, 275.6, 266.5, 270.6, 2100, 270.1)),
        },
    ),
    "Bloomberg, several securities": (
        "bbg.csv",
        ",AAPL US Equity,,MSFT US Equity,\nDate,PX_LAST,PX_VOLUME,PX_LAST,PX_VOLUME\n2024-01-02,95.6,7200,270.6,2100\n2024-01-03,94.3,5200,#N/A N/A,\n",
        {
            "AAPL US Equity": closes(("2024-01-02", 95.6), ("2024-01-03", 94.3)),
            "MSFT US Equity": closes(("2024-01-02", 270.6)),
        },
    ),
    "Bloomberg, one security, long names": (
        "bbg.csv",
        "Date,Open Price,High Price,Low Price,Last Price,Volume\n1/16/2024,97.2,98.4,93.9,95.6,7200\n1/17/2024,94.2,95.9,93.4,94.3,5200\n",
        {"bbg": closes(("2024-01-16", 95.6), ("2024-01-17", 94.3))},
    ),
    "Interactive Brokers, ib_insync": (
        "ES.csv",
        ",date,open,high,low,close,volume,average,barCount\n0,2024-01-02,97.2,98.4,93.9,95.6,7200.0,95.5,100\n1,2024-01-03,94.2,95.9,93.4,94.3,5200.0,94.4,90\n",
        {"ES": TWO},
    ),
    "Interactive Brokers, API times": (
        "ES.csv",
        "date,open,high,low,close,volume\n20240102 09:30:00 US/Eastern,97.2,98.4,93.9,95.6,7200\n20240102 09:31:00 US/Eastern,94.2,95.9,93.4,94.3,5200\n",
        {"ES": closes((INTRADAY, 95.6), ("2024-01-02T14:31:00.000000000", 94.3))},
    ),
    "Tiingo": (
        "AAPL.csv",
        "date,close,high,low,open,volume,adjClose,adjHigh,adjLow,adjOpen,adjVolume,divCash,splitFactor\n"
        "2024-01-02 00:00:00+00:00,95.6,98.4,93.9,97.2,7200,95.1,97.9,93.4,96.7,7200,0.0,1.0\n"
        "2024-01-03T00:00:00.000Z,94.3,95.9,93.4,94.2,5200,93.8,95.4,92.9,93.7,5200,0.0,1.0\n",
        {
            "AAPL": bars(
                ("2024-01-02", 97.2, 98.4, 93.9, 95.6, 7200, 95.1),
                ("2024-01-03", 94.2, 95.9, 93.4, 94.3, 5200, 93.8),
            )
        },
    ),
    "EOD Historical Data with a count at the end": (
        "AAPL.US.csv",
        "Date,Open,High,Low,Close,Adjusted_close,Volume\n2024-01-02,97.2,98.4,93.9,95.6,95.1,7200\n2024-01-03,94.2,95.9,93.4,94.3,93.8,5200\n2\n",
        {
            "AAPL.US": bars(
                ("2024-01-02", 97.2, 98.4, 93.9, 95.6, 7200, 95.1),
                ("2024-01-03", 94.2, 95.9, 93.4, 94.3, 5200, 93.8),
            )
        },
    ),
    "CryptoDataDownload": (
        "Binance_BTCUSDT_d.csv",
        "https://www.CryptoDataDownload.com\nUnix,Date,Symbol,Open,High,Low,Close,Volume BTC,Volume USDT,tradecount\n"
        "1704240000000,2024-01-03,BTCUSDT,97.2,98.4,93.9,95.6,720.5,68000.1,100\n1704153600000,2024-01-02,BTCUSDT,94.2,95.9,93.4,94.3,520.25,49000.2,90\n",
        {
            "BTCUSDT": bars(
                ("2024-01-02", 94.2, 95.9, 93.4, 94.3, 520.25), ("2024-01-03", 97.2, 98.4, 93.9, 95.6, 720.5)
            )
        },
    ),
    "CryptoDataDownload, hours with AM and PM": (
        "Coinbase_BTCUSD_1h.csv",
        "https://www.cryptodatadownload.com\nDate,Symbol,Open,High,Low,Close,Volume BTC,Volume USD\n"
        "2018-07-04 01-PM,BTCUSD,97.2,98.4,93.9,95.6,720.5,68000.1\n2018-07-04 12-PM,BTCUSD,94.2,95.9,93.4,94.3,520.25,49000.2\n",
        {"BTCUSD": closes(("2018-07-04T12:00:00.000000000", 94.3), ("2018-07-04T13:00:00.000000000", 95.6))},
    ),
    "Binance klines": (
        "BTCUSDT-1h-2024-01.csv",
        "1704067200000,97.20,98.40,93.90,95.60,720.5,1704070799999,68000.1,100,300.1,28000.5,0\n"
        "1704070800000,94.20,95.90,93.40,94.30,520.25,1704074399999,49000.2,90,200.2,18000.5,0\n",
        {
            "BTCUSDT-1h-2024-01": bars(
                ("2024-01-01T00:00:00.000000000", 97.2, 98.4, 93.9, 95.6, 720.5),
                ("2024-01-01T01:00:00.000000000", 94.2, 95.9, 93.4, 94.3, 520.25),
            )
        },
    ),
    "Binance klines in microseconds": (
        "BTCUSDT-1d-2025-01.csv",
        "1735689600000000,97.20,98.40,93.90,95.60,720.5,1735775999999999,68000.1,100,300.1,28000.5,0\n"
        "1735776000000000,94.20,95.90,93.40,94.30,520.25,1735862399999999,49000.2,90,200.2,18000.5,0\n",
        {
            "BTCUSDT-1d-2025-01": bars(
                ("2025-01-01", 97.2, 98.4, 93.9, 95.6, 720.5), ("2025-01-02", 94.2, 95.9, 93.4, 94.3, 520.25)
            )
        },
    ),
    "Binance klines with header": (
        "ETH.csv",
        "Open time,Open,High,Low,Close,Volume,Close time,Quote asset volume,Number of trades,Taker buy base asset volume,Taker buy quote asset volume,Ignore\n"
        "1704067200000,97.20,98.40,93.90,95.60,720.5,1704070799999,68000.1,100,300.1,28000.5,0\n"
        "1704070800000,94.20,95.90,93.40,94.30,520.25,1704074399999,49000.2,90,200.2,18000.5,0\n",
        {"ETH": closes(("2024-01-01T00:00:00.000000000", 95.6), ("2024-01-01T01:00:00.000000000", 94.3))},
    ),
    "TradingView in seconds": (
        "NASDAQ_AAPL, 1D.csv",
        "time,open,high,low,close,Volume,Volume MA\n1704205800,97.2,98.4,93.9,95.6,7200,NaN\n1704292200,94.2,95.9,93.4,94.3,5200,NaN\n",
        {"NASDAQ_AAPL, 1D": TWO},
    ),
    "TradingView ISO": (
        "AAPL.csv",
        "time,open,high,low,close\n2024-01-02T09:30:00-05:00,97.2,98.4,93.9,95.6\n2024-01-02T10:30:00-05:00,94.2,95.9,93.4,94.3\n",
        {"AAPL": closes((INTRADAY, 95.6), ("2024-01-02T15:30:00.000000000", 94.3))},
    ),
    "MetaTrader 5": (
        "EURUSD_M1.csv",
        "<DATE>\t<TIME>\t<OPEN>\t<HIGH>\t<LOW>\t<CLOSE>\t<TICKVOL>\t<VOL>\t<SPREAD>\n2024.01.02\t00:05:00\t1.10427\t1.10429\t1.10419\t1.10424\t30\t0\t9\n"
        "2024.01.02\t00:06:00\t1.10424\t1.10430\t1.10420\t1.10425\t28\t0\t9\n",
        {
            "EURUSD_M1": bars(
                ("2024-01-02T00:05:00.000000000", 1.10427, 1.10429, 1.10419, 1.10424, 30),
                ("2024-01-02T00:06:00.000000000", 1.10424, 1.1043, 1.1042, 1.10425, 28),
            )
        },
    ),
    "MetaTrader 5 daily": (
        "EURUSD.csv",
        "<DATE>\t<OPEN>\t<HIGH>\t<LOW>\t<CLOSE>\t<TICKVOL>\t<VOL>\t<SPREAD>\n2024.01.02\t1.10427\t1.10429\t1.10419\t1.10424\t30\t0\t9\n"
        "2024.01.03\t1.10424\t1.10430\t1.10420\t1.10425\t28\t0\t9\n",
        {"EURUSD": closes(("2024-01-02", 1.10424), ("2024-01-03", 1.10425))},
    ),
    "MetaTrader 5 with volumes": (
        "SBER.csv",
        "<DATE>\t<OPEN>\t<HIGH>\t<LOW>\t<CLOSE>\t<TICKVOL>\t<VOL>\t<SPREAD>\n2024.01.03\t271.9\t274.7\t271.6\t274.56\t30\t0\t9\n"
        "2024.01.04\t274.7\t275.5\t273.6\t274.2\t28\t4960\t9\n",
        {
            "SBER": bars(
                ("2024-01-03", 271.9, 274.7, 271.6, 274.56, 0),
                ("2024-01-04", 274.7, 275.5, 273.6, 274.2, 4960),
            )
        },
    ),
    "closes with a count of rows": (
        "x.csv",
        ",Date,AAPL,MSFT\n0,2024-01-02,95.6,270.6\n1,2024-01-03,94.3,270.3\n",
        {
            "AAPL": closes(("2024-01-02", 95.6), ("2024-01-03", 94.3)),
            "MSFT": closes(("2024-01-02", 270.6), ("2024-01-03", 270.3)),
        },
    ),
    "German thousands beside hundreds": (
        "x.csv",
        "Datum;Schluss;Stück\n15.01.2024;999,50;980\n16.01.2024;1.002;1.200\n",
        {"x": [("2024-01-15", {C: 999.5, "volume": 980}), ("2024-01-16", {C: 1002, "volume": 1200})]},
    ),
    "MetaTrader 4 without header": (
        "EURUSD60.csv",
        "2024.01.02,00:00,1.10427,1.10429,1.10419,1.10424,30\n2024.01.02,01:00,1.10424,1.10430,1.10420,1.10425,28\n",
        {
            "EURUSD60": bars(
                ("2024-01-02T00:00:00.000000000", 1.10427, 1.10429, 1.10419, 1.10424, 30),
                ("2024-01-02T01:00:00.000000000", 1.10424, 1.1043, 1.1042, 1.10425, 28),
            )
        },
    ),
    "HistData": (
        "DAT_ASCII_EURUSD_M1.csv",
        "20240102 170000;1.104270;1.104290;1.104190;1.104240;0\n20240102 170100;1.104240;1.104300;1.104200;1.104250;0\n",
        {
            "DAT_ASCII_EURUSD_M1": closes(
                ("2024-01-02T17:00:00.000000000", 1.10424), ("2024-01-02T17:01:00.000000000", 1.10425)
            )
        },
    ),
    "Dukascopy": (
        "EURUSD.csv",
        "Gmt time,Open,High,Low,Close,Volume\n02.01.2024 00:00:00.000,1.10427,1.10429,1.10419,1.10424,120.5\n02.01.2024 00:01:00.000,1.10424,1.10430,1.10420,1.10425,98.2\n",
        {
            "EURUSD": closes(
                ("2024-01-02T00:00:00.000000000", 1.10424), ("2024-01-02T00:01:00.000000000", 1.10425)
            )
        },
    ),
    "FRED": (
        "DGS10.csv",
        "DATE,DGS10\n2024-01-01,.\n2024-01-02,3.95\n",
        {"DGS10": closes(("2024-01-02", 3.95))},
    ),
    "FRED old": (
        "GDP.csv",
        "DATE,VALUE\n2024-01-01,28269.174\n2024-04-01,28624.07\n",
        {"GDP": closes(("2024-01-01", 28269.174), ("2024-04-01", 28624.07))},
    ),
    "Ariva": (
        "wkn_840400_historic.csv",
        "Datum;Erster;Hoch;Tief;Schlusskurs;Stuecke;Volumen\n2024-01-03;240,10;241,60;239,00;240,50;1.250.300;300.702.150\n2024-01-02;238,00;241,00;237,50;240,05;980.100;235.270.905\n",
        {
            "wkn_840400_historic": bars(
                ("2024-01-02", 238, 241, 237.5, 240.05, 980100),
                ("2024-01-03", 240.1, 241.6, 239, 240.5, 1250300),
            )
        },
    ),
    "finanzen.net": (
        "sap.csv",
        "Datum;Eröffnung;Schluss;Tageshoch;Tagestief;Volumen\n16.01.2024;139,50;140,75;141,20;138,90;1.500.200\n",
        {"sap": bars(("2024-01-16", 139.5, 141.2, 138.9, 140.75, 1500200))},
    ),
    "Boursorama": (
        "MC.txt",
        "date\touv\thaut\tbas\tclot\tvol\tdevise\n16/01/2024 00:00\t61.2\t62.4\t60.9\t61.9\t4310\tEUR\n17/01/2024 00:00\t61.9\t62\t60.1\t60.4\t5275\tEUR\n",
        {
            "MC": bars(
                ("2024-01-16", 61.2, 62.4, 60.9, 61.9, 4310), ("2024-01-17", 61.9, 62, 60.1, 60.4, 5275)
            )
        },
    ),
    "Euronext": (
        "FR0000121014.csv",
        '"Historical Data"\n"From 2024-01-01 to 2024-01-17"\nFR0000121014\nDate;Open;High;Low;Last;Close;"Number of Shares";"Number of Trades";Turnover;vwap\n'
        "16/01/2024;680.2;684;675.1;678.9;678.8;310200;21000;210600000;678.95\n17/01/2024;670;672.5;661.2;665.4;665.5;402100;26000;267800000;666.1\n",
        {
            "FR0000121014": bars(
                ("2024-01-16", 680.2, 684, 675.1, 678.8, 310200),
                ("2024-01-17", 670, 672.5, 661.2, 665.5, 402100),
            )
        },
    ),
    "Nasdaq Nordic": (
        "ERIC-B.csv",
        "sep=;\nDate;Bid;Ask;Opening price;High price;Low price;Closing price;Average price;Total volume;Turnover;Trades;\n"
        "2024-01-16;61,20;61,24;61,50;62,00;61,10;61,22;61,40;5200300;319300000;9100;\n",
        {"ERIC-B": bars(("2024-01-16", 61.5, 62, 61.1, 61.22, 5200300))},
    ),
    "Barchart": (
        "aapl_daily.csv",
        'Symbol,Time,Open,High,Low,Last,Change,%Chg,Volume,"Open Int"\nCLG24,01/16/2024,97.2,98.4,93.9,95.6,-1.3,-1.34%,7200,100\nCLG24,01/12/2024,94.2,95.9,93.4,94.3,1.0,+1.07%,5200,110\n'
        '"Downloaded from Barchart.com as of 01-17-2024 05:00pm CST"\n',
        {
            "CLG24": bars(
                ("2024-01-12", 94.2, 95.9, 93.4, 94.3, 5200), ("2024-01-16", 97.2, 98.4, 93.9, 95.6, 7200)
            )
        },
    ),
    "Macrotrends": (
        "MacroTrends_Data_Download_AAPL.csv",
        'Macrotrends Data Download\n\nAAPL - Historical Price and Volume Data\n\n"DISCLAIMER AND TERMS OF USE: HISTORICAL STOCK DATA IS PROVIDED ""AS IS"", AND SOLELY FOR INFORMATIONAL PURPOSES, NOT FOR TRADING"\n'
        "BY USING THIS DATA, YOU AGREE, AMONG OTHERS, TO THESE TERMS\n\n\ndate,open,high,low,close,volume\n2024-01-02,97.2,98.4,93.9,95.6,7200\n2024-01-03,94.2,95.9,93.4,94.3,5200\n",
        {"MacroTrends_Data_Download_AAPL": TWO},
    ),
    "WSJ": (
        "HistoricalPrices.csv",
        "Date, Open, High, Low, Close\n01/16/24, 97.2, 98.4, 93.9, 95.6\n01/12/24, 94.2, 95.9, 93.4, 94.3\n",
        {"HistoricalPrices": closes(("2024-01-12", 94.3), ("2024-01-16", 95.6))},
    ),
    "MarketWatch": (
        "Download Data.csv",
        'Date,Open,High,Low,Close,Volume\n01/16/2024,"1,097.20","1,098.40","1,093.90","1,095.60","65,603,000"\n01/12/2024,"94.20","95.90","93.40","94.30","40,477,780"\n',
        {"Download Data": closes(("2024-01-12", 94.3), ("2024-01-16", 1095.6))},
    ),
    "Google Finance": (
        "goog.csv",
        "\ufeffDate,Open,High,Low,Close,Volume\n6-Oct-17,966.70,979.46,963.36,978.89,1173900\n5-Oct-17,955.49,970.91,955.18,969.96,1213838\n",
        {"goog": closes(("2017-10-05", 969.96), ("2017-10-06", 978.89))},
    ),
    "GOOGLEFINANCE": (
        "sheet.csv",
        "Date,Open,High,Low,Close,Volume\n1/12/2024 16:00:00,97.2,98.4,93.9,95.6,7200\n1/16/2024 16:00:00,94.2,95.9,93.4,94.3,5200\n7/3/2024 13:00:00,94,95,93,94.1,520\n7/5/2024 16:00:00,94,95,93,94.2,520\n",
        {
            "sheet": closes(
                ("2024-01-12", 95.6), ("2024-01-16", 94.3), ("2024-07-03", 94.1), ("2024-07-05", 94.2)
            )
        },
    ),
    "CoinMarketCap": (
        "bitcoin.csv",
        'Date,Open*,High,Low,Close**,Volume,Market Cap\n"Jan 19, 2018","11,429.80","11,992.80","11,172.10","11,607.40","10,740,400,000","194,998,000,000"\n'
        '"Jan 18, 2018","11,198.80","12,107.30","10,942.50","11,474.90","15,020,400,000","188,117,000,000"\n',
        {
            "bitcoin": bars(
                ("2018-01-18", 11198.8, 12107.3, 10942.5, 11474.9, 15020400000),
                ("2018-01-19", 11429.8, 11992.8, 11172.1, 11607.4, 10740400000),
            )
        },
    ),
    "CoinMarketCap new": (
        "Bitcoin_2024.csv",
        "timeOpen;timeClose;timeHigh;timeLow;name;open;high;low;close;volume;marketCap;circulatingSupply;timestamp\n"
        '"2024-01-03T00:00:00.000Z";"2024-01-03T23:59:59.999Z";"2024-01-03T09:00:00.000Z";"2024-01-03T12:00:00.000Z";"2781";44961.6012;45503.2;40813.53;42848.17;46342323118.11;839299127245.8;19588068;"2024-01-03T23:59:59.999Z"\n'
        '"2024-01-02T00:00:00.000Z";"2024-01-02T23:59:59.999Z";"2024-01-02T09:00:00.000Z";"2024-01-02T12:00:00.000Z";"2781";44187.1407;45899.7;44176.94;44957.96;39335274535.76;880560834453.4;19587062;"2024-01-02T23:59:59.999Z"\n',
        {"Bitcoin_2024": closes(("2024-01-02", 44957.96), ("2024-01-03", 42848.17))},
    ),
    "CoinGecko": (
        "btc-usd-max.csv",
        "snapped_at,price,market_cap,total_volume\n2024-01-02 00:00:00 UTC,44187.1,865000000000.5,17000000000.2\n2024-01-03 00:00:00 UTC,44957.9,880000000000.1,25000000000.7\n",
        {"btc-usd-max": bars()},
    ),
    "TradeStation": (
        "ES.txt",
        '"Date","Time","Open","High","Low","Close","Up","Down"\n01/16/2024,09:31,97.2,98.4,93.9,95.6,10,20\n01/16/2024,09:32,94.2,95.9,93.4,94.3,11,21\n',
        {"ES": closes(("2024-01-16T09:31:00.000000000", 95.6), ("2024-01-16T09:32:00.000000000", 94.3))},
    ),
    "Sierra Chart": (
        "ES.txt",
        "Date, Time, Open, High, Low, Last, Volume, NumberOfTrades, BidVolume, AskVolume\n2024/1/2, 09:31:00.0, 97.2, 98.4, 93.9, 95.6, 7200, 1, 2, 3\n2024/1/2, 09:32:00.0, 94.2, 95.9, 93.4, 94.3, 5200, 1, 2, 3\n",
        {"ES": closes(("2024-01-02T09:31:00.000000000", 95.6), ("2024-01-02T09:32:00.000000000", 94.3))},
    ),
    "Polygon flat file": (
        "2024-01-02.csv",
        "ticker,volume,open,close,high,low,window_start,transactions\nAAPL,7200,97.2,95.6,98.4,93.9,1704171600000000000,100\nMSFT,2100,273.6,270.6,275.6,266.5,1704171600000000000,90\n",
        {
            "AAPL": closes(("2024-01-02T05:00:00.000000000", 95.6)),
            "MSFT": closes(("2024-01-02T05:00:00.000000000", 270.6)),
        },
    ),
    "CRSP": (
        "crsp.csv",
        "PERMNO,date,TICKER,PRC,VOL,RET\n14593,20240102,AAPL,95.6,7200,0.01\n14593,20240103,AAPL,-94.3,0,0.0\n14593,20240104,AAPL,94.5,100,0.0\n",
        {"AAPL": closes(("2024-01-02", 95.6), ("2024-01-04", 94.5))},
    ),
    "headerless with symbol": (
        "NYSE_20240102.txt",
        "AAPL,20240102,97.2,98.4,93.9,95.6,7200\nMSFT,20240102,273.6,275.6,266.5,270.6,2100\n",
        {
            "AAPL": bars(("2024-01-02", 97.2, 98.4, 93.9, 95.6, 7200)),
            "MSFT": bars(("2024-01-02", 273.6, 275.6, 266.5, 270.6, 2100)),
        },
    ),
    "TWSE, years of the Taiwanese calendar": (
        "2330.csv",
        '"113年01月 2330 台積電 各日成交資訊"\n"日期","成交股數","成交金額","開盤價","最高價","最低價","收盤價","漲跌價差","成交筆數",\n'
        '"113/01/02","27,997,826","16,549,618,748","590.00","593.00","589.00","593.00"," 0.00","22,996",\n"說明:"\n"符號說明:+/-/X表示漲/跌/不比價"\n',
        {"2330": bars(("2024-01-02", 590, 593, 589, 593, 27997826))},
    ),
    "units below the header": (
        "x.csv",
        "Date,Open,High,Low,Close,Volume\n,USD,USD,USD,USD,shares\n2024-01-02,97.2,98.4,93.9,95.6,7200\n2024-01-03,94.2,95.9,93.4,94.3,5200\n",
        {"x": TWO},
    ),
    "units in the header": (
        "x.csv",
        "Date,open (EUR),high (EUR),low (EUR),close (EUR),volume\n2024-01-02,97.2,98.4,93.9,95.6,7200\n2024-01-03,94.2,95.9,93.4,94.3,5200\n",
        {"x": TWO},
    ),
    "date under an unknown name": (
        "x.csv",
        "Wann;Schlusskurs;Stück\n15.01.2024;95,60;7.200\n16.01.2024;94,30;5.200\n",
        {"x": bars()},
    ),
    "Volume ETH": (
        "x.csv",
        "unix,date,symbol,open,high,low,close,Volume ETH,Volume USDT,tradecount\n1704153600000,2024-01-02 00:00:00,ETH/USDT,94.2,95.9,93.4,94.3,520.25,49000.2,90\n",
        {"ETH/USDT": bars(("2024-01-02", 94.2, 95.9, 93.4, 94.3, 520.25))},
    ),
    "Kraken without header": (
        "XBTUSD_60.csv",
        "1704067200,97.2,98.4,93.9,95.6,720.5,100\n1704070800,94.2,95.9,93.4,94.3,520.25,90\n",
        {
            "XBTUSD_60": closes(
                ("2024-01-01T00:00:00.000000000", 95.6), ("2024-01-01T01:00:00.000000000", 94.3)
            )
        },
    ),
    "Finam": (
        "SBER.txt",
        "<TICKER>;<PER>;<DATE>;<TIME>;<OPEN>;<HIGH>;<LOW>;<CLOSE>;<VOL>\nSBER;60;20240103;100000;271.9;272.5;271.6;272.1;5200\nSBER;60;20240103;110000;272.1;272.6;271.9;272.4;4100\n",
        {"SBER": closes(("2024-01-03T10:00:00.000000000", 272.1), ("2024-01-03T11:00:00.000000000", 272.4))},
    ),
    "Moscow Exchange": (
        "SBER.csv",
        "history\n\nBOARDID;TRADEDATE;SHORTNAME;SECID;NUMTRADES;VALUE;OPEN;LOW;HIGH;LEGALCLOSEPRICE;WAPRICE;CLOSE;VOLUME\n"
        "TQBR;2024-01-03;Sberbank;SBER;60000;13574000000.5;271.9;271.6;274.7;274.56;273.6;274.56;49600000\n",
        {"SBER": bars(("2024-01-03", 271.9, 274.7, 271.6, 274.56, 49600000))},
    ),
    "Korea Exchange": (
        "005930.csv",
        '일자,종가,대비,등락률,시가,고가,저가,거래량\n2024/01/03,"77,000","-2,600",-3.27,"78,500","78,800","77,000","21,753,644"\n',
        {"005930": bars(("2024-01-03", 78500, 78800, 77000, 77000, 21753644))},
    ),
    "European Central Bank": (
        "eurofxref-hist.csv",
        "Date,USD,JPY,BGN,CYP,\n2024-01-03,1.0919,156.16,1.9558,N/A,\n2024-01-02,1.0956,155.79,1.9558,N/A,\n",
        {
            "USD": closes(("2024-01-02", 1.0956), ("2024-01-03", 1.0919)),
            "JPY": closes(("2024-01-02", 155.79), ("2024-01-03", 156.16)),
            "BGN": closes(("2024-01-02", 1.9558), ("2024-01-03", 1.9558)),
        },
    ),
    "Bank of England": (
        "XUDLUSS.csv",
        "DATE,XUDLUSS\n02 Jan 24,1.2656\n03 Jan 24,1.2655\n",
        {"XUDLUSS": closes(("2024-01-02", 1.2656), ("2024-01-03", 1.2655))},
    ),
    "Investing.com Indonesian": (
        "bbca.csv",
        '"Tanggal","Terakhir","Pembukaan","Tertinggi","Terendah","Vol.","Perubahan%"\n"16/01/2024","9.600","9.675","9.700","9.575","58,12M","-0,78%"\n',
        {"bbca": bars(("2024-01-16", 9675, 9700, 9575, 9600, 58120000))},
    ),
    "pipes": (
        "x.txt",
        "symbol|date|open|high|low|close|volume\nAAPL|2024-01-02|97.2|98.4|93.9|95.6|7200\nAAPL|2024-01-03|94.2|95.9|93.4|94.3|5200\n",
        {"AAPL": TWO},
    ),
    "unknown text column as symbol": (
        "x.csv",
        "Date,Emittent X,Close\n2024-01-02,Alpha,10\n2024-01-02,Beta,20\n2024-01-03,Alpha,11\n2024-01-03,Beta,21\n",
        {
            "Alpha": closes(("2024-01-02", 10), ("2024-01-03", 11)),
            "Beta": closes(("2024-01-02", 20), ("2024-01-03", 21)),
        },
    ),
    "Asian midnight in UTC, by weekdays": (
        "7203.csv",
        "Datetime,Close\n"
        + "".join(f"2024-01-{day:02} 15:00:00+00:00,{day}\n" for day in (7, 8, 9, 10, 11, 14, 15)),
        {"7203": closes(*((f"2024-01-{day + 1:02}", day) for day in (7, 8, 9, 10, 11, 14, 15)))},
    ),
    "New York midnight in UTC": (
        "x.csv",
        "Datetime,Close\n2024-03-07 05:00:00+00:00,1\n2024-03-08 05:00:00+00:00,2\n2024-03-11 04:00:00+00:00,3\n",
        {"x": closes(("2024-03-07", 1), ("2024-03-08", 2), ("2024-03-11", 3))},
    ),
    "Bloomberg with lines before": (
        "x.csv",
        "Start Date,01/02/2024,\nEnd Date,01/31/2024,\n,,\n,AAPL US Equity,MSFT US Equity\n"
        "Dates,PX_LAST,PX_LAST\n01/02/2024,1,2\n01/31/2024,3,4\n",
        {
            "AAPL US Equity": closes(("2024-01-02", 1), ("2024-01-31", 3)),
            "MSFT US Equity": closes(("2024-01-02", 2), ("2024-01-31", 4)),
        },
    ),
    "months of Eurostat": (
        "x.csv",
        "Date,Open,Close\n2024M01,1,2\n2024M02,5,6\n",
        {"x": closes(("2024-01-01", 2), ("2024-02-01", 6))},
    ),
    "months as digits": (
        "x.csv",
        "Date,Open,Close\n202312,1,2\n202401,5,6\n",
        {"x": closes(("2023-12-01", 2), ("2024-01-01", 6))},
    ),
}
FORMS["date under an unknown name"][2]["x"] = closes(("2024-01-15", 95.6), ("2024-01-16", 94.3))
FORMS["CoinGecko"][2]["btc-usd-max"] = closes(("2024-01-02", 44187.1), ("2024-01-03", 44957.9))
