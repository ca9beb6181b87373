"""More files as vendors, exchanges, central banks and platforms write them, with made-up numbers: ``price_forms``."""

from __future__ import annotations

from typing import Any

from price_forms import TWO, Form, Rows, bars, closes

HOURS = ("2024-01-01T00:00:00.000000000", "2024-01-01T01:00:00.000000000", "2024-01-01T02:00:00.000000000")
CANDLES = bars(
    (HOURS[0], 42300, 42400, 42200, 42350, 120.5),
    (HOURS[1], 42351, 42500, 42310, 42450, 110.5),
    (HOURS[2], 42450, 42700, 42400, 42650, 90.5),
)

VENDOR_FORMS: dict[str, Form] = {
    # Platforms
    "bossa.pl and CafeF": (
        "ALIOR.mst",
        "<TICKER>,<DTYYYYMMDD>,<OPEN>,<HIGH>,<LOW>,<CLOSE>,<VOL>\nALIOR,20240102,97.2,98.4,93.9,95.6,7200\n"
        "ALIOR,20240103,94.2,95.9,93.4,94.3,5200\n",
        {"ALIOR": TWO},
    ),
    "Forexite": (
        "x.txt",
        "<TICKER>,<DTYYYYMMDD>,<TIME>,<OPEN>,<HIGH>,<LOW>,<CLOSE>\nEURUSD,20240102,000100,1.1042,1.1043,1.1041,1.1042\n"
        "EURUSD,20240102,000200,1.1042,1.1045,1.1042,1.1044\n",
        {
            "EURUSD": closes(
                ("2024-01-02T00:01:00.000000000", 1.1042), ("2024-01-02T00:02:00.000000000", 1.1044)
            )
        },
    ),
    "AmiBroker": (
        "x.csv",
        "Ticker,Date/Time,Open,High,Low,Close,Volume\nAAPL,1/12/2024,97.2,98.4,93.9,95.6,7200\n"
        "AAPL,1/16/2024,94.2,95.9,93.4,94.3,5200\n",
        {"AAPL": closes(("2024-01-12", 95.6), ("2024-01-16", 94.3))},
    ),
    "MultiCharts": (
        "ES.txt",
        '"Date","Time","Open","High","Low","Close","Vol","OI"\n01/16/2024,09:31:00,97.2,98.4,93.9,95.6,7200,0\n'
        "01/16/2024,09:32:00,94.2,95.9,93.4,94.3,5200,0\n",
        {
            "ES": bars(
                ("2024-01-16T09:31:00.000000000", 97.2, 98.4, 93.9, 95.6, 7200),
                ("2024-01-16T09:32:00.000000000", 94.2, 95.9, 93.4, 94.3, 5200),
            )
        },
    ),
    "Kibot": (
        "IBM.txt",
        "01/16/2024,09:30,97.2,98.4,93.9,95.6,7200\n01/16/2024,09:31,94.2,95.9,93.4,94.3,5200\n",
        {"IBM": closes(("2024-01-16T09:30:00.000000000", 95.6), ("2024-01-16T09:31:00.000000000", 94.3))},
    ),
    "FirstRate Data": (
        "AAPL.txt",
        "2024-01-16 09:30:00,97.2,98.4,93.9,95.6,7200\n2024-01-16 09:31:00,94.2,95.9,93.4,94.3,5200\n",
        {"AAPL": closes(("2024-01-16T09:30:00.000000000", 95.6), ("2024-01-16T09:31:00.000000000", 94.3))},
    ),
    "Backtrader": (
        "AAPL.csv",
        "Date,Open,High,Low,Close,Volume,OpenInterest\n2024-01-02,97.2,98.4,93.9,95.6,7200,-1\n"
        "2024-01-03,94.2,95.9,93.4,94.3,5200,-1\n",
        {"AAPL": TWO},
    ),
    "zipline": (
        "AAPL.csv",
        "date,open,high,low,close,volume,dividend,split\n2024-01-02,97.2,98.4,93.9,95.6,7200,0.0,1.0\n"
        "2024-01-03,94.2,95.9,93.4,94.3,5200,0.24,1.0\n",
        {"AAPL": TWO},
    ),
    "Zerodha Kite": (
        "INFY.csv",
        "date,open,high,low,close,volume\n2024-01-02 09:15:00+05:30,97.2,98.4,93.9,95.6,7200\n"
        "2024-01-02 09:16:00+05:30,94.2,95.9,93.4,94.3,5200\n",
        {"INFY": closes(("2024-01-02T03:45:00.000000000", 95.6), ("2024-01-02T03:46:00.000000000", 94.3))},
    ),
    "jugaad-data": (
        "x.csv",
        "DATE,SERIES,OPEN,HIGH,LOW,PREV. CLOSE,LTP,CLOSE,VWAP,52W H,52W L,VOLUME,VALUE,NO OF TRADES,SYMBOL\n"
        "2024-01-02,EQ,97.2,98.4,93.9,97,95.7,95.6,96,120,80,7200,690000.5,300,SBIN\n"
        "2024-01-03,EQ,94.2,95.9,93.4,95.6,94.2,94.3,94.6,120,80,5200,490000.5,200,SBIN\n",
        {"SBIN": TWO},
    ),
    "Dukascopy in local time": (
        "EURUSD.csv",
        "Local time,Open,High,Low,Close,Volume\n02.01.2024 00:00:00.000 GMT+0100,1.1042,1.1043,1.1041,1.1042,120.5\n"
        "02.01.2024 00:01:00.000 GMT+0100,1.1042,1.1045,1.1042,1.1044,98.2\n",
        {
            "EURUSD": closes(
                ("2024-01-01T23:00:00.000000000", 1.1042), ("2024-01-01T23:01:00.000000000", 1.1044)
            )
        },
    ),
    "OANDA": (
        "EUR_USD.csv",
        "time,volume,mid.o,mid.h,mid.l,mid.c\n2024-01-02T00:00:00.000000000Z,120,1.1042,1.1043,1.1041,1.1042\n"
        "2024-01-02T00:01:00.000000000Z,98,1.1042,1.1045,1.1042,1.1044\n",
        {
            "EUR_USD": bars(
                ("2024-01-02T00:00:00.000000000", 1.1042, 1.1043, 1.1041, 1.1042, 120),
                ("2024-01-02T00:01:00.000000000", 1.1042, 1.1045, 1.1042, 1.1044, 98),
            )
        },
    ),
    # Vendors
    "Sharadar": (
        "SEP.csv",
        "ticker,date,open,high,low,close,volume,closeadj,closeunadj,lastupdated\n"
        "AAPL,2024-01-02,97.2,98.4,93.9,95.6,7200,95.1,191.2,2024-02-09\n"
        "AAPL,2024-01-03,94.2,95.9,93.4,94.3,5200,93.8,188.6,2024-02-09\n",
        {
            "AAPL": bars(
                ("2024-01-02", 97.2, 98.4, 93.9, 95.6, 7200, 95.1),
                ("2024-01-03", 94.2, 95.9, 93.4, 94.3, 5200, 93.8),
            )
        },
    ),
    "Norgate": (
        "AAPL.csv",
        "Date,Open,High,Low,Close,Volume,Turnover,Unadjusted Close,Dividend\n"
        "20240102,97.2,98.4,93.9,95.6,7200,690000,191.2,0\n20240103,94.2,95.9,93.4,94.3,5200,490000,188.6,0\n",
        {"AAPL": TWO},
    ),
    "Financial Modeling Prep": (
        "AAPL.csv",
        "date,open,high,low,close,adjClose,volume,unadjustedVolume,change,changePercent,vwap,label,changeOverTime\n"
        '2024-01-03,94.2,95.9,93.4,94.3,93.8,5200,5200,0.1,0.11,94.5,"January 03, 24",0.0011\n'
        '2024-01-02,97.2,98.4,93.9,95.6,95.1,7200,7200,-1.6,-1.65,96,"January 02, 24",-0.0165\n',
        {
            "AAPL": bars(
                ("2024-01-02", 97.2, 98.4, 93.9, 95.6, 7200, 95.1),
                ("2024-01-03", 94.2, 95.9, 93.4, 94.3, 5200, 93.8),
            )
        },
    ),
    "Marketstack": (
        "x.csv",
        "open,high,low,close,volume,adj_high,adj_low,adj_close,adj_open,adj_volume,split_factor,dividend,symbol,exchange,date\n"
        "94.2,95.9,93.4,94.3,5200,95.4,92.9,93.8,93.7,5200,1.0,0.0,AAPL,XNAS,2024-01-03T00:00:00+0000\n"
        "97.2,98.4,93.9,95.6,7200,97.9,93.4,95.1,96.7,7200,1.0,0.0,AAPL,XNAS,2024-01-02T00:00:00+0000\n",
        {
            "AAPL": bars(
                ("2024-01-02", 97.2, 98.4, 93.9, 95.6, 7200, 95.1),
                ("2024-01-03", 94.2, 95.9, 93.4, 94.3, 5200, 93.8),
            )
        },
    ),
    "Intrinio": (
        "AAPL.csv",
        "date,intraperiod,frequency,open,high,low,close,volume,adj_open,adj_high,adj_low,adj_close,adj_volume,factor\n"
        "2024-01-03,False,daily,94.2,95.9,93.4,94.3,5200,93.7,95.4,92.9,93.8,5200,1.0\n"
        "2024-01-02,False,daily,97.2,98.4,93.9,95.6,7200,96.7,97.9,93.4,95.1,7200,1.0\n",
        {
            "AAPL": bars(
                ("2024-01-02", 97.2, 98.4, 93.9, 95.6, 7200, 95.1),
                ("2024-01-03", 94.2, 95.9, 93.4, 94.3, 5200, 93.8),
            )
        },
    ),
    "Twelve Data": (
        "AAPL.csv",
        "datetime;open;high;low;close;volume\n2024-01-03;94.20000;95.90000;93.40000;94.30000;5200\n"
        "2024-01-02;97.20000;98.40000;93.90000;95.60000;7200\n",
        {"AAPL": TWO},
    ),
    "Alpaca": (
        "x.csv",
        "symbol,timestamp,open,high,low,close,volume,trade_count,vwap\n"
        "AAPL,2024-01-02 05:00:00+00:00,97.2,98.4,93.9,95.6,7200.0,100.0,96.1\n"
        "AAPL,2024-01-03 05:00:00+00:00,94.2,95.9,93.4,94.3,5200.0,90.0,94.5\n"
        "MSFT,2024-01-02 05:00:00+00:00,273.6,275.6,266.5,270.6,2100.0,80.0,271.2\n",
        {"AAPL": TWO, "MSFT": closes(("2024-01-02", 270.6))},
    ),
    "Polygon aggregates": (
        "AAPL.csv",
        "v,vw,o,c,h,l,t,n\n7200,96.1,97.2,95.6,98.4,93.9,1704171600000,100\n5200,94.5,94.2,94.3,95.9,93.4,1704258000000,90\n",
        {"AAPL": TWO},
    ),
    "Finnhub": (
        "AAPL.csv",
        "c,h,l,o,s,t,v\n95.6,98.4,93.9,97.2,ok,1704153600,7200\n94.3,95.9,93.4,94.2,ok,1704240000,5200\n",
        {"AAPL": TWO},
    ),
    "SimFin": (
        "x.csv",
        "Ticker;SimFinId;Date;Open;High;Low;Close;Adj. Close;Volume;Dividend;Shares Outstanding\n"
        "AAPL;111052;2024-01-02;97.2;98.4;93.9;95.6;95.1;7200;;15500000\n"
        "AAPL;111052;2024-01-03;94.2;95.9;93.4;94.3;93.8;5200;0.24;15500000\n",
        {
            "AAPL": bars(
                ("2024-01-02", 97.2, 98.4, 93.9, 95.6, 7200, 95.1),
                ("2024-01-03", 94.2, 95.9, 93.4, 94.3, 5200, 93.8),
            )
        },
    ),
    "Stock Analysis": (
        "AAPL.csv",
        'Date,Open,High,Low,Close,Adj. Close,Change,Volume\n"Jan 3, 2024",94.20,95.90,93.40,94.30,93.80,-1.36%,"5,200"\n'
        '"Jan 2, 2024",97.20,98.40,93.90,95.60,95.10,+0.21%,"7,200"\n',
        {
            "AAPL": bars(
                ("2024-01-02", 97.2, 98.4, 93.9, 95.6, 7200, 95.1),
                ("2024-01-03", 94.2, 95.9, 93.4, 94.3, 5200, 93.8),
            )
        },
    ),
    "Barchart OnDemand": (
        "x.csv",
        "symbol,timestamp,tradingDay,open,high,low,close,volume,openInterest\n"
        "IBM,2024-01-02T00:00:00-05:00,2024-01-02,97.2,98.4,93.9,95.6,7200,\n"
        "IBM,2024-01-03T00:00:00-05:00,2024-01-03,94.2,95.9,93.4,94.3,5200,\n",
        {"IBM": TWO},
    ),
    "LSEG Tick History": (
        "x.csv",
        "#RIC,Domain,Date-Time,GMT Offset,Type,Open,High,Low,Last,Volume\n"
        "VOD.L,Market Price,2024-01-02T08:00:00.000000000Z,+0,Intraday 1Min,97.2,98.4,93.9,95.6,7200\n"
        "VOD.L,Market Price,2024-01-02T08:01:00.000000000Z,+0,Intraday 1Min,94.2,95.9,93.4,94.3,5200\n",
        {
            "VOD.L": bars(
                ("2024-01-02T08:00:00.000000000", 97.2, 98.4, 93.9, 95.6, 7200),
                ("2024-01-02T08:01:00.000000000", 94.2, 95.9, 93.4, 94.3, 5200),
            )
        },
    ),
    "Eikon get_timeseries": (
        "AAPL.O.csv",
        "Date,HIGH,CLOSE,LOW,OPEN,COUNT,VOLUME\n2024-01-02,98.4,95.6,93.9,97.2,100,7200\n2024-01-03,95.9,94.3,93.4,94.2,90,5200\n",
        {"AAPL.O": TWO},
    ),
    "Eikon get_data": (
        "x.csv",
        ",Instrument,Date,Price Open,Price High,Price Low,Price Close,Volume\n0,AAPL.O,2024-01-02T00:00:00Z,97.2,98.4,93.9,95.6,7200\n"
        "1,AAPL.O,2024-01-03T00:00:00Z,94.2,95.9,93.4,94.3,5200\n2,MSFT.O,2024-01-02T00:00:00Z,273.6,275.6,266.5,270.6,2100\n",
        {"AAPL.O": TWO, "MSFT.O": closes(("2024-01-02", 270.6))},
    ),
    "Datastream": (
        "x.csv",
        "Name,APPLE,MICROSOFT\nCode,@AAPL(P),@MSFT(P)\nCURRENCY,U$,U$\n01/02/2024,95.6,270.6\n01/16/2024,94.3,270.3\n",
        {
            "APPLE": closes(("2024-01-02", 95.6), ("2024-01-16", 94.3)),
            "MICROSOFT": closes(("2024-01-02", 270.6), ("2024-01-16", 270.3)),
        },
    ),
    "CRSP since 2022": (
        "x.csv",
        "PERMNO,DlyCalDt,Ticker,DlyPrc,DlyVol,DlyClose,DlyLow,DlyHigh,DlyOpen\n"
        "14593,2024-01-02,AAPL,95.6,7200,95.6,93.9,98.4,97.2\n14593,2024-01-03,AAPL,94.3,5200,94.3,93.4,95.9,94.2\n",
        {"AAPL": TWO},
    ),
    "Compustat": (
        "x.csv",
        "gvkey,iid,datadate,tic,conm,ajexdi,cshtrd,prccd,prchd,prcld,prcod\n"
        "001690,01,20240102,AAPL,APPLE INC,1,7200,95.6,98.4,93.9,97.2\n001690,01,20240103,AAPL,APPLE INC,1,5200,94.3,95.9,93.4,94.2\n",
        {"AAPL": TWO},
    ),
    "Kaggle, Dow Jones of UCI": (
        "dow.csv",
        "quarter,stock,date,open,high,low,close,volume,percent_change_price,next_weeks_open\n"
        "1,AA,1/7/2011,$15.82,$16.72,$15.78,$16.42,239655616,3.79267,$16.71\n1,AA,1/14/2011,$16.71,$16.71,$15.64,$15.97,242963398,-4.42849,$16.19\n"
        "1,AXP,1/7/2011,$43.30,$45.60,$43.11,$44.36,45102042,2.448037,$44.20\n",
        {
            "AA": bars(
                ("2011-01-07", 15.82, 16.72, 15.78, 16.42, 239655616),
                ("2011-01-14", 16.71, 16.71, 15.64, 15.97, 242963398),
            ),
            "AXP": closes(("2011-01-07", 44.36)),
        },
    ),
    "Kaggle, world stocks": (
        "x.csv",
        "Date,Open,High,Low,Close,Volume,Brand_Name,Ticker,Industry_Tag,Country,Dividends,Stock Splits,Capital Gains\n"
        "2024-01-02 00:00:00-05:00,97.2,98.4,93.9,95.6,7200,apple,AAPL,technology,usa,0.0,0.0,\n"
        "2024-01-02 00:00:00-05:00,273.6,275.6,266.5,270.6,2100,microsoft,MSFT,technology,usa,0.0,0.0,\n"
        "2024-01-03 00:00:00-05:00,94.2,95.9,93.4,94.3,5200,apple,AAPL,technology,usa,0.24,0.0,\n",
        {"AAPL": TWO, "MSFT": closes(("2024-01-02", 270.6))},
    ),
    "Kaggle, G-Research": (
        "x.csv",
        "timestamp,Asset_ID,Count,Open,High,Low,Close,Volume,VWAP\n"
        "1704067200,2,40,97.2,98.4,93.9,95.6,7200,96\n1704067200,1,229,42300,42400,42200,42350,31.5,42310\n"
        "1704067260,2,40,94.2,95.9,93.4,94.3,5200,95\n1704067260,1,229,42350,42500,42310,42450,29.5,42310\n",
        {
            "2": closes(("2024-01-01T00:00:00.000000000", 95.6), ("2024-01-01T00:01:00.000000000", 94.3)),
            "1": closes(("2024-01-01T00:00:00.000000000", 42350), ("2024-01-01T00:01:00.000000000", 42450)),
        },
    ),
    # Coins
    "Kraken with header": (
        "XBTUSD.csv",
        "time,open,high,low,close,vwap,volume,count\n1704067200,42300,42400,42200,42350,42310,120.5,9\n"
        "1704070800,42351,42500,42310,42450,42400,110.5,8\n1704074400,42450,42700,42400,42650,42500,90.5,7\n",
        {"XBTUSD": CANDLES},
    ),
    "Coinbase without header": (
        "BTC-USD.csv",
        "1704074400,42400,42700,42450,42650,90.5\n1704070800,42310,42500,42351,42450,110.5\n1704067200,42200,42400,42300,42350,120.5\n",
        {"BTC-USD": CANDLES},
    ),
    "Bitfinex without header": (
        "tBTCUSD.csv",
        "1704067200000,42300,42350,42400,42200,120.5\n1704070800000,42351,42450,42500,42310,110.5\n1704074400000,42450,42650,42700,42400,90.5\n",
        {"tBTCUSD": CANDLES},
    ),
    "KuCoin": (
        "BTC-USDT.csv",
        "time,open,close,high,low,volume,turnover\n1704067200,42300,42350,42400,42200,120.5,5100000\n"
        "1704070800,42351,42450,42500,42310,110.5,4600000\n1704074400,42450,42650,42700,42400,90.5,3800000\n",
        {"BTC-USDT": CANDLES},
    ),
    "Gemini": (
        "x.csv",
        "https://www.CryptoDataDownload.com\nUnix Timestamp,Date,Symbol,Open,High,Low,Close,Volume\n"
        "1704070800000,2024-01-01 01:00:00,BTCUSD,42351,42500,42310,42450,110.5\n"
        "1704067200000,2024-01-01 00:00:00,BTCUSD,42300,42400,42200,42350,120.5\n",
        {"BTCUSD": CANDLES[:2]},
    ),
    "Bybit": (
        "x.csv",
        "start_at,symbol,period,open,high,low,close\n1704067200,BTCUSD,60,42300,42400,42200,42350\n1704070800,BTCUSD,60,42351,42500,42310,42450\n",
        {"BTCUSD": closes((HOURS[0], 42350), (HOURS[1], 42450))},
    ),
    "OKX": (
        "x.csv",
        "instrument_name,open,high,low,close,vol,vol_ccy,vol_quote,open_time,confirm\n"
        "BTC-USDT,42300,42400,42200,42350,120.5,120.5,5100000,1704067200000,1\n"
        "BTC-USDT,42351,42500,42310,42450,110.5,110.5,4600000,1704070800000,1\n",
        {"BTC-USDT": CANDLES[:2]},
    ),
    "Coin Metrics": (
        "x.csv",
        "asset,time,PriceUSD\nbtc,2024-01-02T00:00:00.000000000Z,44957.9\nbtc,2024-01-03T00:00:00.000000000Z,42848.1\n"
        "eth,2024-01-02T00:00:00.000000000Z,2355.8\n",
        {
            "btc": closes(("2024-01-02", 44957.9), ("2024-01-03", 42848.1)),
            "eth": closes(("2024-01-02", 2355.8)),
        },
    ),
    "Blockchain.com": (
        "market-price.csv",
        '"Timestamp","market-price"\n"2024-01-02 00:00:00",44187.1\n"2024-01-03 00:00:00",44957.9\n',
        {"market-price": closes(("2024-01-02", 44187.1), ("2024-01-03", 44957.9))},
    ),
    "CoinDesk": (
        "x.csv",
        "Currency,Date,Closing Price (USD),24h Open (USD),24h High (USD),24h Low (USD)\n"
        "BTC,2024-01-02,44957.9,44187.1,45899.7,44176.9\nBTC,2024-01-03,42848.1,44961.6,45503.2,40813.5\n",
        {
            "x": bars(
                ("2024-01-02", 44187.1, 45899.7, 44176.9, 44957.9),
                ("2024-01-03", 44961.6, 45503.2, 40813.5, 42848.1),
            )
        },
    ),
    "CoinCodex": (
        "bitcoin.csv",
        "Start,End,Open,High,Low,Close,Volume,Market Cap\n2024-01-03,2024-01-04,94.2,95.9,93.4,94.3,5200,1000\n"
        "2024-01-02,2024-01-03,97.2,98.4,93.9,95.6,7200,1000\n",
        {"bitcoin": TWO},
    ),
    # Exchanges
    "NSE, an index": (
        "NIFTY 50.csv",
        '"Date ","Open ","High ","Low ","Close ","Shares Traded ","Turnover (₹ Cr)"\n'
        '"02-JAN-2024","21,751.35","21,755.60","21,555.65","21,665.80","263515162","24,000.52"\n'
        '"03-JAN-2024","21,661.10","21,677.00","21,500.35","21,517.35","311933683","28,000.10"\n',
        {"NIFTY 50": closes(("2024-01-02", 21665.8), ("2024-01-03", 21517.35))},
    ),
    "BSE bhavcopy with dates": (
        "x.csv",
        "SC_CODE,SC_NAME,SC_GROUP,SC_TYPE,OPEN,HIGH,LOW,CLOSE,LAST,PREVCLOSE,NO_TRADES,NO_OF_SHRS,NET_TURNOV,TDCLOINDI,ISIN_CODE,TRADING_DATE\n"
        "500002,ABB INDIA LTD,A ,Q,97.2,98.4,93.9,95.6,95.7,97,10,7200,690000,,INE117A01022,02-Jan-24\n"
        "500325,RELIANCE,A ,Q,273.6,275.6,266.5,270.6,270.5,271,9,2100,570000,,INE002A01018,02-Jan-24\n",
        {
            "500002": bars(("2024-01-02", 97.2, 98.4, 93.9, 95.6, 7200)),
            "500325": closes(("2024-01-02", 270.6)),
        },
    ),
    "Dhaka Stock Exchange": (
        "x.csv",
        "#,DATE,TRADING CODE,LTP*,HIGH,LOW,OPENP*,CLOSEP*,YCP,TRADE,VALUE (mn),VOLUME\n"
        '1,2024-01-03,GP,94.2,95.9,93.4,94.2,94.3,95.6,"1,523",221.023,"5,200"\n'
        '2,2024-01-02,GP,95.5,98.4,93.9,97.2,95.6,97,"1,000",100,"7,200"\n',
        {"GP": TWO},
    ),
    "Moscow Exchange, pages of ISS": (
        "x.csv",
        "history\n\nBOARDID;TRADEDATE;SHORTNAME;SECID;OPEN;LOW;HIGH;CLOSE;VOLUME\n"
        "TQBR;2024-01-02;Sberbank;SBER;97.2;93.9;98.4;95.6;7200\n\nhistory.cursor\n\nINDEX;TOTAL;PAGESIZE\n0;2;1\n\n"
        "history\n\nBOARDID;TRADEDATE;SHORTNAME;SECID;OPEN;LOW;HIGH;CLOSE;VOLUME\n"
        "TQBR;2024-01-03;Sberbank;SBER;94.2;93.4;95.9;94.3;5200\n\nhistory.cursor\n\nINDEX;TOTAL;PAGESIZE\n1;2;1\n\n",
        {"SBER": TWO},
    ),
    "Moscow Exchange, candles of ISS": (
        "SBER.csv",
        "candles\n\nopen;close;high;low;value;volume;begin;end\n97.2;95.6;98.4;93.9;690000.5;7200;2024-01-02 00:00:00;2024-01-02 23:59:59\n"
        "94.2;94.3;95.9;93.4;490000.5;5200;2024-01-03 00:00:00;2024-01-03 23:59:59\n\n",
        {"SBER": TWO},
    ),
    "Tinkoff": (
        "x.csv",
        "e6123145;2024-01-03T07:00:00Z;97.2;95.6;98.4;93.9;720;\ne6123145;2024-01-03T07:01:00Z;95.6;96.2;96.3;95.5;520;\n"
        "e6123145;2024-01-03T07:02:00Z;96.2;97.5;97.6;96.1;420;\n",
        {
            "e6123145": bars(
                ("2024-01-03T07:00:00.000000000", 97.2, 98.4, 93.9, 95.6, 720),
                ("2024-01-03T07:01:00.000000000", 95.6, 96.3, 95.5, 96.2, 520),
                ("2024-01-03T07:02:00.000000000", 96.2, 97.6, 96.1, 97.5, 420),
            )
        },
    ),
    "Warsaw Stock Exchange": (
        "x.csv",
        "Data;Nazwa;ISIN;Waluta;Kurs otwarcia;Kurs max;Kurs min;Kurs zamknięcia;Zmiana;Wolumen\n"
        "2024-01-02;ALIOR;PLALIOR00045;PLN;97,2;98,4;93,9;95,6;-1,2;7200\n2024-01-03;ALIOR;PLALIOR00045;PLN;94,2;95,9;93,4;94,3;-1,4;5200\n",
        {"PLALIOR00045": TWO},
    ),
    "Bolsa de Madrid": (
        "SAN.csv",
        "Fecha;Cierre;Volumen;Efectivo;Último;Máx.;Mín.;Medio\n16/01/2024;3,90;7200;28000;3,90;3,95;3,85;3,89\n"
        "17/01/2024;3,80;5200;20000;3,80;3,88;3,78;3,82\n",
        {"SAN": closes(("2024-01-16", 3.9), ("2024-01-17", 3.8))},
    ),
    "Rava": (
        "x.csv",
        "especie,fecha,apertura,maximo,minimo,cierre,volumen,openint\nGGAL,2024-01-02,97.2,98.4,93.9,95.6,7200,0\n"
        "GGAL,2024-01-03,94.2,95.9,93.4,94.3,5200,0\n",
        {"GGAL": TWO},
    ),
    "Nikkei 225, English": (
        "nikkei.csv",
        '"Date","Close","Open","High","Low"\n"2024/01/04","33288.29","33193.05","33299.39","32693.18"\n'
        '"2024/01/05","33377.42","33397.52","33568.04","33257.43"\n"The Nikkei Stock Average data is copyrighted material of Nikkei Inc."\n',
        {"nikkei": closes(("2024-01-04", 33288.29), ("2024-01-05", 33377.42))},
    ),
    "Nikkei 225, Japanese": (
        "nikkei.csv",
        '"データ日付","終値","始値","高値","安値"\n"2024/01/04","33288.29","33193.05","33299.39","32693.18"\n'
        '"2024/01/05","33377.42","33397.52","33568.04","33257.43"\n"本資料は日経の著作物であり 無断の転載を 禁じます"\n',
        {
            "nikkei": bars(
                ("2024-01-04", 33193.05, 33299.39, 32693.18, 33288.29),
                ("2024-01-05", 33397.52, 33568.04, 33257.43, 33377.42),
            )
        },
    ),
    "Yahoo Japan": (
        "7203.csv",
        '日付,始値,高値,安値,終値,出来高,調整後終値*\n2024年1月5日,"2,620","2,651.5","2,617","2,647","27,000,100","2,647"\n'
        '2024年1月4日,"2,545","2,610.5","2,538","2,598","30,512,200","2,598"\n',
        {
            "7203": bars(
                ("2024-01-04", 2545, 2610.5, 2538, 2598, 30512200, 2598),
                ("2024-01-05", 2620, 2651.5, 2617, 2647, 27000100, 2647),
            )
        },
    ),
    "Taiwan's open data": (
        "x.csv",
        "Date,Code,Name,TradeVolume,TradeValue,OpeningPrice,HighestPrice,LowestPrice,ClosingPrice,Change,Transaction\n"
        "1130102,2330,台積電,7200,690000,97.2,98.4,93.9,95.6,1,100\n1130102,2317,鴻海,2100,570000,273.6,275.6,266.5,270.6,1,90\n",
        {
            "2330": bars(("2024-01-02", 97.2, 98.4, 93.9, 95.6, 7200)),
            "2317": closes(("2024-01-02", 270.6)),
        },
    ),
    "RiceQuant": (
        "x.csv",
        "order_book_id,date,open,close,high,low,volume,total_turnover\n000001.XSHE,2024-01-02,97.2,95.6,98.4,93.9,7200,690000\n"
        "000001.XSHE,2024-01-03,94.2,94.3,95.9,93.4,5200,490000\n",
        {"000001.XSHE": TWO},
    ),
    "JoinQuant": (
        "000001.XSHE.csv",
        ",open,close,high,low,volume,money\n2024-01-02,97.2,95.6,98.4,93.9,7200,690000\n2024-01-03,94.2,94.3,95.9,93.4,5200,490000\n",
        {"000001.XSHE": TWO},
    ),
    "Tongdaxin": (
        "SZ#000001.txt",
        "000001 平安银行 日线 不复权\n      日期\t    开盘\t    最高\t    最低\t    收盘\t    成交量\t    成交额\n"
        "2024/01/02\t97.20\t98.40\t93.90\t95.60\t7200\t690000.00\n2024/01/03\t94.20\t95.90\t93.40\t94.30\t5200\t490000.00\n数据来源:通达信\n",
        {"SZ#000001": TWO},
    ),
    "Wind": (
        "x.csv",
        "代码,简称,日期,前收盘价(元),开盘价(元),最高价(元),最低价(元),收盘价(元),成交量(股)\n"
        "000001.SZ,平安银行,2024-01-02,97,97.2,98.4,93.9,95.6,7200\n000001.SZ,平安银行,2024-01-03,95.6,94.2,95.9,93.4,94.3,5200\n",
        {"000001.SZ": TWO},
    ),
    "FinanceDataReader": (
        "005930.csv",
        "Date,Open,High,Low,Close,Volume,Change\n2024-01-02,97.2,98.4,93.9,95.6,7200,0.014\n2024-01-03,94.2,95.9,93.4,94.3,5200,-0.013\n",
        {"005930": TWO},
    ),
    "Cboe, VIX": (
        "VIX_History.csv",
        "DATE,OPEN,HIGH,LOW,CLOSE\n01/16/2024,13.930000,14.500000,13.620000,13.840000\n01/17/2024,14.320000,15.400000,14.200000,14.790000\n",
        {"VIX_History": closes(("2024-01-16", 13.84), ("2024-01-17", 14.79))},
    ),
    # Funds
    "AMFI, all schemes of a day": (
        "NAVAll.txt",
        "Scheme Code;ISIN Div Payout/ ISIN Growth;ISIN Div Reinvestment;Scheme Name;Net Asset Value;Date\n \n"
        "Open Ended Schemes(Debt Scheme - Banking and PSU Fund)\n \nAlpha Mutual Fund\n \n"
        "119551;INF209KA12Z1;INF209KA13Z9;Alpha Banking & PSU Debt Fund - DIRECT - IDCW;123.4567;19-Jan-2024\n"
        "119552;INF209K01YN0;-;Alpha Banking & PSU Debt Fund - GROWTH;N.A.;19-Jan-2024\n \nBeta Mutual Fund\n \n"
        "120438;INF846K01CR6;-;Beta Banking & PSU Debt Fund - Direct Plan;2345.6789;19-Jan-2024\n",
        {
            "119551": closes(("2024-01-19", 123.4567)),
            "120438": closes(("2024-01-19", 2345.6789)),
        },
    ),
    "CVM": (
        "inf_diario_fi_202401.csv",
        "TP_FUNDO;CNPJ_FUNDO;DT_COMPTC;VL_TOTAL;VL_QUOTA;VL_PATRIM_LIQ;CAPTC_DIA;RESG_DIA;NR_COTST\n"
        "FI;00.017.024/0001-53;2024-01-02;1132491.66;27.225023;1131231.11;0.00;0.00;1\n"
        "FI;00.017.024/0001-53;2024-01-03;1132688.12;27.229111;1131400.96;0.00;0.00;1\n"
        "FI;00.068.305/0001-35;2024-01-02;62500000.5;31.481211;62400000.5;0.00;0.00;2\n",
        {
            "00.017.024/0001-53": closes(("2024-01-02", 27.225023), ("2024-01-03", 27.229111)),
            "00.068.305/0001-35": closes(("2024-01-02", 31.481211)),
        },
    ),
    # Central banks and statistics
    "ECB, SDMX": (
        "x.csv",
        "KEY,FREQ,CURRENCY,CURRENCY_DENOM,EXR_TYPE,EXR_SUFFIX,TIME_PERIOD,OBS_VALUE,OBS_STATUS,DECIMALS,TITLE,UNIT\n"
        "EXR.D.USD.EUR.SP00.A,D,USD,EUR,SP00,A,2024-01-02,1.0956,A,4,US dollar/Euro,USD\n"
        "EXR.D.USD.EUR.SP00.A,D,USD,EUR,SP00,A,2024-01-03,1.0919,A,4,US dollar/Euro,USD\n"
        "EXR.D.JPY.EUR.SP00.A,D,JPY,EUR,SP00,A,2024-01-04,155.79,A,2,Japanese yen/Euro,JPY\n",
        {
            "EXR.D.USD.EUR.SP00.A": closes(("2024-01-02", 1.0956), ("2024-01-03", 1.0919)),
            "EXR.D.JPY.EUR.SP00.A": closes(("2024-01-04", 155.79)),
        },
    ),
    "ECB's data portal": (
        "x.csv",
        '"DATE","TIME PERIOD","US dollar/Euro (EXR.D.USD.EUR.SP00.A)"\n"2024-01-02","02 Jan 2024","1.0956"\n'
        '"2024-01-03","03 Jan 2024","1.0919"\n',
        {"US dollar/Euro (EXR.D.USD.EUR.SP00.A)": closes(("2024-01-02", 1.0956), ("2024-01-03", 1.0919))},
    ),
    "Eurostat, quarters": (
        "x.csv",
        "DATAFLOW,LAST UPDATE,freq,unit,geo,TIME_PERIOD,OBS_VALUE,OBS_FLAG\nESTAT:PRC_HPI_Q(1.0),05/01/24 11:00:00,Q,I15_Q,DE,2023-Q3,149.5,\n"
        "ESTAT:PRC_HPI_Q(1.0),05/01/24 11:00:00,Q,I15_Q,DE,2023-Q4,146.8,p\n",
        {"x": closes(("2023-07-01", 149.5), ("2023-10-01", 146.8))},
    ),
    "Deutsche Bundesbank": (
        "x.csv",
        ";BBEX3.D.USD.EUR.BB.AC.000;BBEX3.D.USD.EUR.BB.AC.000_FLAGS\n;Euro-Referenzkurs der EZB / 1 EUR = ... USD;\n"
        "Einheit;USD (US-Dollar);\nDimension;Eins;\nStand vom;05.01.2024 15:50:00;\n2024-01-01;.;Kein Wert vorhanden\n"
        "2024-01-02;1,0956;\n2024-01-03;1,0919;\n",
        {"BBEX3.D.USD.EUR.BB.AC.000": closes(("2024-01-02", 1.0956), ("2024-01-03", 1.0919))},
    ),
    "Swiss National Bank": (
        "x.csv",
        '"CubeId";"snbgwdzid"\n"PublishingDate";"2024-01-05 09:00"\n\n"Date";"D0";"Value"\n"2024-01-02";"SARON";"1.700137"\n'
        '"2024-01-02";"EURIBOR";"3.9"\n"2024-01-03";"SARON";"1.698432"\n"2024-01-03";"EURIBOR";\n',
        {
            "SARON": closes(("2024-01-02", 1.700137), ("2024-01-03", 1.698432)),
            "EURIBOR": closes(("2024-01-02", 3.9)),
        },
    ),
    "Reserve Bank of Australia": (
        "f11.1-data.csv",
        "F11.1  EXCHANGE RATES \nTitle,A$1=USD,A$1=JPY\nDescription,AUD/USD Exchange Rate,AUD/JPY Exchange Rate\nFrequency,Daily,Daily\n"
        "Type,Indicative,Indicative\nUnits,USD,JPY\n,,\n,,\nSource,WM/Reuters,RBA\nPublication date,05-Jan-2024,05-Jan-2024\n"
        "Series ID,FXRUSD,FXRJY\n02-Jan-2024,0.6789,96.51\n03-Jan-2024,0.6745,96.22\n",
        {
            "FXRUSD": closes(("2024-01-02", 0.6789), ("2024-01-03", 0.6745)),
            "FXRJY": closes(("2024-01-02", 96.51), ("2024-01-03", 96.22)),
        },
    ),
    "Bank of Canada": (
        "x.csv",
        '"TERMS AND CONDITIONS"\n"https://www.bankofcanada.ca/terms/"\n\n"NAME"\n"Daily exchange rates"\n\n"SERIES"\n"id","label","description"\n'
        '"FXUSDCAD","USD/CAD","US dollar to Canadian dollar daily exchange rate"\n\n"OBSERVATIONS"\n"date","FXUSDCAD","FXEURCAD"\n'
        '"2024-01-02","1.3316","1.4586"\n"2024-01-03","1.3360","1.4573"\n',
        {
            "FXUSDCAD": closes(("2024-01-02", 1.3316), ("2024-01-03", 1.336)),
            "FXEURCAD": closes(("2024-01-02", 1.4586), ("2024-01-03", 1.4573)),
        },
    ),
    "Norges Bank": (
        "EXR.csv",
        "FREQ;Frequency;BASE_CUR;Base Currency;QUOTE_CUR;Quote Currency;TENOR;Tenor;DECIMALS;CALCULATED;UNIT_MULT;TIME_PERIOD;OBS_VALUE\n"
        "B;Business;USD;US dollar;NOK;Norwegian krone;SP;Spot;4;false;0;2024-01-02;10,3012\n"
        "B;Business;USD;US dollar;NOK;Norwegian krone;SP;Spot;4;false;0;2024-01-03;10,3555\n",
        {"EXR": closes(("2024-01-02", 10.3012), ("2024-01-03", 10.3555))},
    ),
    "Banco Central do Brasil": (
        "bcdata.sgs.1.csv",
        '"data";"valor"\n"16/01/2024";"4,8910"\n"17/01/2024";"4,9301"\n',
        {"bcdata.sgs.1": closes(("2024-01-16", 4.891), ("2024-01-17", 4.9301))},
    ),
    "US Treasury": (
        "yields.csv",
        'Date,"1 Mo","2 Mo","10 Yr"\n01/17/2024,5.54,5.50,4.10\n01/16/2024,5.53,5.48,4.07\n',
        {
            "1 Mo": closes(("2024-01-16", 5.53), ("2024-01-17", 5.54)),
            "2 Mo": closes(("2024-01-16", 5.48), ("2024-01-17", 5.5)),
            "10 Yr": closes(("2024-01-16", 4.07), ("2024-01-17", 4.1)),
        },
    ),
    "EIA": (
        "RWTCd.csv",
        'Back to Contents,"Data 1: Cushing, OK WTI Spot Price FOB (Dollars per Barrel)"\nSourcekey,RWTC\n'
        'Date,"Cushing, OK WTI Spot Price FOB (Dollars per Barrel)"\n"Jan 02, 2024",70.62\n"Jan 03, 2024",72.97\n',
        {"RWTCd": closes(("2024-01-02", 70.62), ("2024-01-03", 72.97))},
    ),
    "LBMA": (
        "gold.csv",
        "Date,USD (AM),USD (PM),GBP (AM)\n2024-01-02,2071.3,2067.55,1628.5\n2024-01-03,2053.2,2046.2,1622.4\n",
        {
            "USD (AM)": closes(("2024-01-02", 2071.3), ("2024-01-03", 2053.2)),
            "USD (PM)": closes(("2024-01-02", 2067.55), ("2024-01-03", 2046.2)),
            "GBP (AM)": closes(("2024-01-02", 1628.5), ("2024-01-03", 1622.4)),
        },
    ),
    # Programs and arrangements
    "Stata": (
        "x.csv",
        "date,ticker,close\n02jan2024,AAPL,95.6\n03jan2024,AAPL,94.3\n",
        {"AAPL": closes(("2024-01-02", 95.6), ("2024-01-03", 94.3))},
    ),
    "SAS": (
        "x.csv",
        "date,permno,prc\n02JAN2024:00:00:00,14593,95.6\n03JAN2024:00:00:00,14593,94.3\n",
        {"14593": closes(("2024-01-02", 95.6), ("2024-01-03", 94.3))},
    ),
    "year, month and day in columns": (
        "AAPL.csv",
        "Year,Month,Day,Open,High,Low,Close,Volume\n2024,1,2,97.2,98.4,93.9,95.6,7200\n2024,1,3,94.2,95.9,93.4,94.3,5200\n",
        {"AAPL": TWO},
    ),
    "year and month in columns": (
        "GDP.csv",
        "Year,Month,Close\n2024,1,2\n2024,2,6\n",
        {"GDP": closes(("2024-01-01", 2), ("2024-02-01", 6))},
    ),
    "day, name of the month and year in columns": (
        "x.csv",
        "Tag;Monat;Jahr;AAPL;MSFT\n2;Januar;2024;95,6;270,6\n3;Januar;2024;94,3;270,3\n",
        {
            "AAPL": closes(("2024-01-02", 95.6), ("2024-01-03", 94.3)),
            "MSFT": closes(("2024-01-02", 270.6), ("2024-01-03", 270.3)),
        },
    ),
    "Avanza": (
        "ERIC B.csv",
        "Datum;Öppen;Högst;Lägst;Senast;Volym\n2024-01-16;139,5;141,2;138,9;140,75;1500200\n",
        {"ERIC B": bars(("2024-01-16", 139.5, 141.2, 138.9, 140.75, 1500200))},
    ),
    "Yahoo's portfolios": (
        "quotes.csv",
        "Symbol,Current Price,Date,Time,Change,Open,High,Low,Volume,Trade Date,Purchase Price,Quantity\n"
        "AAPL,95.6,2024/01/02,16:00 EST,-1.6,97.2,98.4,93.9,7200,20230101,50,10\n"
        "MSFT,270.6,2024/01/02,16:00 EST,-1,273.6,275.6,266.5,2100,20230101,150,10\n",
        {
            "AAPL": bars(("2024-01-02T21:00:00.000000000", 97.2, 98.4, 93.9, 95.6, 7200)),
            "MSFT": closes(("2024-01-02T21:00:00.000000000", 270.6)),
        },
    ),
    "a company called Total": (
        "x.csv",
        "Symbol,Year,Month,Day,Close\nTotal,2024,1,2,5\nTotal,2024,1,3,6\nShell,2024,1,2,7\nTotal,,,,18\n",
        {"Total": closes(("2024-01-02", 5), ("2024-01-03", 6)), "Shell": closes(("2024-01-02", 7))},
    ),
    "Bloomberg, side by side": (
        "x.csv",
        "AAPL US Equity,,,MSFT US Equity,,\nDate,PX_LAST,PX_VOLUME,Date,PX_LAST,PX_VOLUME\n"
        "1/2/2024,95.6,7200,1/3/2024,270.6,2100\n1/16/2024,94.3,5200,1/17/2024,270.3,2300\n,,,1/18/2024,271,2200\n",
        {
            "AAPL US Equity": [
                ("2024-01-02", {"close": 95.6, "volume": 7200}),
                ("2024-01-16", {"close": 94.3, "volume": 5200}),
            ],
            "MSFT US Equity": closes(("2024-01-03", 270.6), ("2024-01-17", 270.3), ("2024-01-18", 271)),
        },
    ),
    "side by side, names of closes": (
        "x.csv",
        "Date,AAPL,Date,MSFT\n2024-01-02,95.6,2024-01-03,270.6\n2024-01-03,94.3,2024-01-04,270.3\n",
        {
            "AAPL": closes(("2024-01-02", 95.6), ("2024-01-03", 94.3)),
            "MSFT": closes(("2024-01-03", 270.6), ("2024-01-04", 270.3)),
        },
    ),
    "side by side, read by pandas and saved again": (
        "x.csv",
        "Datum;AAPL;Datum.1;MSFT\n02.01.2024;95,6;03.01.2024;270,6\n03.01.2024;94,3;04.01.2024;270,3\n",
        {
            "AAPL": closes(("2024-01-02", 95.6), ("2024-01-03", 94.3)),
            "MSFT": closes(("2024-01-03", 270.6), ("2024-01-04", 270.3)),
        },
    ),
    "side by side, symbols above the dates": (
        "x.csv",
        "AAPL,,,MSFT,\n2024-01-02,95.6,,2024-01-03,270.6\n2024-01-03,94.3,,2024-01-04,270.3\n",
        {
            "AAPL": closes(("2024-01-02", 95.6), ("2024-01-03", 94.3)),
            "MSFT": closes(("2024-01-03", 270.6), ("2024-01-04", 270.3)),
        },
    ),
    "a header repeated in another order": (
        "x.csv",
        "Date,Open,High,Low,Close,Volume\n2024-01-02,97.2,98.4,93.9,95.6,7200\nDate,Volume,Close,Open,High,Low\n"
        "2024-01-03,5200,94.3,94.2,95.9,93.4\n",
        {"x": TWO},
    ),
    "dividends among the prices": (
        "AAPL.csv",
        'Date,Open,High,Low,Close*,Adj Close**,Volume\n"Jan 3, 2024",94.20,95.90,93.40,94.30,93.80,"5,200"\n'
        '"Jan 3, 2024",0.24 Dividend,0.24 Dividend,0.24 Dividend,0.24 Dividend,0.24 Dividend,0.24 Dividend\n'
        '"Jan 2, 2024",97.20,98.40,93.90,95.60,95.10,"7,200"\n',
        {
            "AAPL": bars(
                ("2024-01-02", 97.2, 98.4, 93.9, 95.6, 7200, 95.1),
                ("2024-01-03", 94.2, 95.9, 93.4, 94.3, 5200, 93.8),
            )
        },
    ),
}

CNB = "Datum|1 AUD|1 EUR\n02.01.2024|15,278|24,685\n03.01.2024|15,201|24,675\n"
CONTRACTS = (
    "INSTRUMENT,SYMBOL,EXPIRY_DT,STRIKE_PR,OPTION_TYP,OPEN,HIGH,LOW,CLOSE,SETTLE_PR,TIMESTAMP\n"
    "FUTSTK,SBIN,25-Jan-2024,0,XX,97.2,98.4,93.9,95.6,95.6,24-JAN-2024\n"
    "FUTSTK,SBIN,29-Feb-2024,0,XX,94.2,95.9,93.4,94.3,94.3,25-JAN-2024\n"
)
HUOBI = "id,open,close,low,high,vol,amount\n1704067200,97.2,95.6,93.9,98.4,1,7200\n1704153600,94.2,94.3,93.4,95.9,1,5200\n"
ALIGNED = (
    "Date        Open  High   Low  Close  Volume\n2024-01-02  97.2  98.4  93.9   95.6    7200\n"
    "2024-01-03  94.2  95.9  93.4   94.3    5200\n"
)

# The text; what is said; None, or what settles it, an option or the command that the message names, and the rows then.
VENDOR_REFUSALS: dict[str, tuple[str, str, tuple[dict[str, Any] | str, dict[str, Rows]] | None]] = {
    "Czech National Bank, three decimals in all columns": (
        CNB,
        r'line 2: found "15,278", expected a number that is not both 15.278 and 15278; give --decimal',
        (
            {"decimal": ","},
            {
                "1 AUD": closes(("2024-01-02", 15.278), ("2024-01-03", 15.201)),
                "1 EUR": closes(("2024-01-02", 24.685), ("2024-01-03", 24.675)),
            },
        ),
    ),
    "another header with more columns": (
        "Datum|1 AUD|1 EUR\n02.01.2024|15,27|24,68\n03.01.2024|15,2|24,67\nDatum|1 AUD|1 EUR|1 ZAR\n04.01.2024|15,27|24,68|1,25\n",
        "line 4: found another header, with 4 columns instead of 3; cut the file above it, as by head -n 3",
        None,
    ),
    "contracts of one underlying, one after the other": (
        CONTRACTS,
        'rows of "SBIN" have different values of "EXPIRY_DT"',
        (
            {"symbol_column": "SYMBOL,EXPIRY_DT"},
            {
                "SBIN 25-Jan-2024": closes(("2024-01-24", 95.6)),
                "SBIN 29-Feb-2024": closes(("2024-01-25", 94.3)),
            },
        ),
    ),
    "Huobi, dates under id": (
        HUOBI,
        'no date column .* name the date column with --date-column "id"',
        (
            {"date_column": "id"},
            {"x": bars(("2024-01-01", 97.2, 98.4, 93.9, 95.6, 1), ("2024-01-02", 94.2, 95.9, 93.4, 94.3, 1))},
        ),
    ),
    "day, month and year as digits": (
        "Data;Fechamento\n16012024;4,89\n17012024;4,93\n",
        "give --date-format %d%m%Y or %m%d%Y if these end with the year",
        ({"date_format": "%d%m%Y"}, {"x": closes(("2024-01-16", 4.89), ("2024-01-17", 4.93))}),
    ),
    "TrueFX, ticks": (
        "EUR/USD,20240102 00:00:00.123,1.10427,1.10430\nEUR/USD,20240102 00:00:00.223,1.10427,1.10431\n",
        "line 1: found a row of prices, expected a header",
        None,
    ),
    "NinjaTrader, ticks with bid and ask": (
        "20240102 093000 0000000;97.2;97.1;97.3;1\n20240102 093000 0010000;97.2;97.1;97.3;1\n",
        "line 1: found a row of prices, expected a header",
        None,
    ),
    "candles whose opens do not follow the closes": (
        "1704067200,42200,42400,42350,42250,1\n1704070800,42210,42500,42480,42260,1\n",
        "high and low are columns 3 and 2, but which of the others is the open is not clear",
        (
            {"columns": "date,low,high,open,close,volume"},
            {
                "x": bars(
                    (HOURS[0], 42350, 42400, 42200, 42250, 1),
                    (HOURS[1], 42480, 42500, 42210, 42260, 1),
                )
            },
        ),
    ),
    "BSE bhavcopy, no date": (
        "SC_CODE,SC_NAME,SC_GROUP,SC_TYPE,OPEN,HIGH,LOW,CLOSE,LAST,PREVCLOSE,NO_TRADES,NO_OF_SHRS,NET_TURNOV,TDCLOINDI\n"
        "500002,ABB INDIA LTD,A ,Q,97.2,98.4,93.9,95.6,95.7,97,10,7200,690000,\n"
        "500325,RELIANCE,A ,Q,273.6,275.6,266.5,270.6,270.5,271,9,2100,570000,\n",
        "no column seems to hold dates, so put one before the others",
        None,
    ),
    "Kenneth French, returns": (
        "This file was created by using the 202401 CRSP database.\n\n,Mkt-RF,SMB,HML,RF\n19260701,    0.10,   -0.25,   -0.27,    0.009\n"
        "19260702,    0.45,   -0.33,   -0.06,    0.009\n19260706,   -0.45,   -0.33,   -0.06,    0.009\n",
        'the column "Mkt-RF" seems to hold no prices, as many of its values are negative',
        None,
    ),
    "columns aligned by spaces": (
        ALIGNED,
        "columns are aligned by runs of spaces; put commas between them",
        ("awk -v OFS=, '{$1 = $1} 1' FILE > NEW", {"x": TWO}),
    ),
    "two companies with titles": (
        "Date,Open,Close\nApple Inc\n2024-01-02,97.2,95.6\nMicrosoft Corp\n2024-01-03,273.6,270.6\n",
        'line 2: "Apple Inc" stands alone, as the symbol of the rows below it does',
        (
            'awk -F, \'NR==1 {h=$0; print "Symbol" FS $0; next} NF==1 {name=$1; next} NR<1 || $0==h {next} '
            "{print name FS $0}' FILE > NEW",
            {"Apple Inc": closes(("2024-01-02", 95.6)), "Microsoft Corp": closes(("2024-01-03", 270.6))},
        ),
    ),
    "two companies side by side without names": (
        "Date,Close,Date,Close\n2024-01-02,95.6,2024-01-02,270.6\n2024-01-03,94.3,2024-01-04,270.3\n",
        "line 1: 2 tables stand side by side, and nothing above them names their symbols",
        None,
    ),
    "contracts that change, in names of columns": (
        "Date,Emittent,ABC_close,ABC_open\n2024-01-02,Alpha,95.6,97.2\n2024-01-03,Beta,270.6,273.6\n",
        '"Emittent" has several values',
        None,
    ),
    "prices of two kinds beside a symbol": (
        "Symbol,Date,Fair Price,Purchase Price\nAAPL,2024-01-02,95.6,50\nMSFT,2024-01-03,270.6,150\n",
        "no close column",
        None,
    ),
    "a key of each row": (
        "Key,Date,Close\na1,2024-01-02,95.6\nb2,2024-01-03,94.3\n",
        '"Key" has several values',
        ({"symbol_column": "none"}, {"x": closes(("2024-01-02", 95.6), ("2024-01-03", 94.3))}),
    ),
    "a list of quotes": (
        "Symbol,Name,Last Price,Change,Volume\nAAPL,Apple,95.6,1,7200\nMSFT,Microsoft,270.6,1,2100\n",
        "no column seems to hold dates",
        None,
    ),
    "trades of an exchange": (
        "3,42300.1,0.5,21150.05,1704067200000,True,True\n4,42300.2,0.5,21150.05,1704067200100,True,True\n",
        "found a row of prices, expected a header",
        None,
    ),
}


def cotahist() -> str:
    """A file of B3 with two shares, one quoted by the thousand, and an option; records as the exchange lays them out."""

    def record(
        date: str, code: str, market: str, prices: tuple[float, ...], shares: int, isin: str, factor: int
    ) -> str:
        opened, high, low, close = (f"{round(price * 100):013d}" for price in prices)
        return (
            f"01{date}02{code:<12}{market}{'COMPANY':<12}{'PN      N2':<10}   R$  {opened}{high}{low}{close}{close}{close}"
            f"{close}{5:05d}{shares:018d}{0:018d}{0:013d}0{99991231}{factor:07d}{0:013d}{isin:<12}112"
        )

    records = [
        "00COTAHIST.2024BOVESPA 20240105".ljust(245),
        record("20240102", "PETR4", "010", (37.35, 37.92, 37.29, 37.78), 24043200, "BRPETRACNPR6", 1),
        record("20240103", "PETR4", "010", (37.81, 39.28, 37.5, 38.56), 61000000, "BRPETRACNPR6", 1),
        record("20240102", "PETRA373", "070", (1, 2, 1, 1.5), 100, "BRPETRACNPR6", 1),
        record("19980102", "TELB4", "010", (128000, 130000, 127000, 129000), 5, "BRTELBACNPR5", 1000),
        "99COTAHIST.2024BOVESPA 2024010500000000006".ljust(245),
    ]
    assert {len(line) for line in records} == {245}
    return "\r\n".join(records) + "\r\n"
