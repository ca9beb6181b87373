"""What is refused names an option or a command of the shell, and with it the file has the right values."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from country_forms import FOUR
from price_forms import MSFT, TWO, Rows, bars, closes
from test_price_forms import load, require

from hpc_lstm.errors import PriceFileError
from hpc_lstm.market.importing import import_prices
from hpc_lstm.market.options import ImportOptions

COMMAND = re.compile(r"as by (python -c '.*?'|(?:awk|iconv|sed|tr) .*? FILE > NEW)")


@dataclass(frozen=True)
class Refused:
    """A refused file.

    Attributes:
        text: of the file. said: in the message.
        wanted: the right rows once it is settled.
        option: what the message says that settles it; "": a command that it names.
        typed: what the user makes of it; "": the same.
        given: options of the first try.
        name: of the file.
    """

    text: str
    said: str
    wanted: dict[str, Rows]
    option: str = ""
    typed: str = ""
    given: str = ""
    name: str = "x.csv"


def options_of(text: str) -> ImportOptions:
    """Options as they are typed."""
    words = shlex.split(text)
    pairs = dict(zip(words[::2], words[1::2], strict=True))
    return ImportOptions(
        **{name.removeprefix("--").replace("-", "_"): value for name, value in pairs.items()}
    )


BHAV = (
    "SC_CODE,SC_NAME,SC_GROUP,SC_TYPE,OPEN,HIGH,LOW,CLOSE,LAST,PREVCLOSE,NO_TRADES,NO_OF_SHRS\n"
    "500002,ABB INDIA LTD,A ,Q,97.2,98.4,93.9,95.6,95.7,97,10,7200\n500325,RELIANCE,A ,Q,273.6,275.6,266.5,270.6,270.5,271,9,2100\n"
)
BHAV_ROWS = {"500002": TWO[:1], "500325": MSFT[:1]}
MINUTE = "2024-01-02T09:30:00.000000000"
NEXT = "2024-01-02T09:31:00.000000000"
TRADES = bars((MINUTE, 95.6, 95.7, 95.6, 95.7, 150), (NEXT, 95.5, 95.5, 95.4, 95.4, 30))
QUOTES = closes(("2024-01-02T00:00:00.123000000", 1.10427), ("2024-01-02T00:00:00.223000000", 1.10428))
HOURS = [f"2024-01-01T{hour:02}:00:00.000000000" for hour in range(3)]
CANDLES = bars(
    (HOURS[0], 42300, 42400, 42200, 42350),
    (HOURS[1], 42351, 42500, 42310, 42450),
    (HOURS[2], 42450, 42700, 42400, 42650),
)

CASES: dict[str, Refused] = {
    # The date in the file's name
    "bhavcopy of the BSE": Refused(
        BHAV,
        "no column seems to hold dates",
        BHAV_ROWS,
        "--date-column file-name --date-format %d%m%y",
        name="EQ020124.CSV",
    ),
    "bhavcopy of the NSE": Refused(
        BHAV, "if all rows are of 02JAN2024", BHAV_ROWS, "--date-column file-name", name="cm02JAN2024bhav.csv"
    ),
    "all shares of a day": Refused(
        BHAV,
        "if all rows are of 20240102",
        BHAV_ROWS,
        "--date-column file-name",
        name="MI_INDEX_20240102.csv",
    ),
    "times of a day": Refused(
        "time,price\n09:30,95.6\n09:31,94.3\n",
        "--date-column file-name",
        {"AAPL 2024-01-02": closes((MINUTE, 95.6), (NEXT, 94.3))},
        "--date-column file-name",
        name="AAPL 2024-01-02.csv",
    ),
    # Trades and quotes
    "trades of one time": Refused(
        f"time,price,size\n{MINUTE[:19]},95.6,100\n{MINUTE[:19]},95.7,50\n{NEXT[:19]},95.5,10\n{NEXT[:19]},95.4,20\n",
        "if the rows are trades or quotes make bars of them",
        {"x": TRADES},
    ),
    "trades of one time, milliseconds, without a header": Refused(
        "3,95.6,100,9560,1704187800000,True\n4,95.7,50,4785,1704187800000,True\n5,95.5,10,955,1704187860000,True\n"
        "6,95.4,20,1908,1704187860000,False\n",
        "if the rows are trades or quotes make bars of them",
        {"x": TRADES},
        given="--columns _,close,volume,_,date,_",
    ),
    "trades of several symbols": Refused(
        "time;sym;price;size\n2024-01-02 09:30:00;AB;95.6;100\n2024-01-02 09:30:00;AB;95.7;50\n2024-01-02 09:30:01;CD;5;1\n"
        "2024-01-02 09:31:00;AB;95.5;10\n2024-01-02 09:31:00;AB;95.4;20\n2024-01-02 09:31:00;CD;6;2\n",
        "if the rows are trades or quotes make bars of them",
        {"AB": TRADES, "CD": bars((MINUTE, 5, 5, 5, 5, 1), (NEXT, 6, 6, 6, 6, 2))},
    ),
    "trades without a header": Refused(
        "1704067200,42300.1,0.05\n1704067201,42300.2,0.06\n1704070800,42300.3,0.06\n",
        "found a row of prices, expected a header",
        {"x": closes((HOURS[0], 42300.1), ("2024-01-01T00:00:01.000000000", 42300.2), (HOURS[1], 42300.3))},
        "--columns date,close,_",
    ),
    "TrueFX": Refused(
        "EUR/USD,20240102 00:00:00.123,1.10427,1.10430\nEUR/USD,20240102 00:00:00.223,1.10428,1.10431\n",
        "found a row of prices, expected a header",
        {"EUR/USD": QUOTES},
        "--columns symbol,date,close,_",
    ),
    "HistData, ticks": Refused(
        "20240102 000000123,1.104270,1.104290,0\n20240102 000000223,1.104280,1.104300,0\n",
        "found a row of prices, expected a header",
        {"DAT_ASCII_EURUSD_T_202401": QUOTES},
        "--columns date,close,_,_",
        name="DAT_ASCII_EURUSD_T_202401.csv",
    ),
    "HistData, ticks of one time": Refused(
        "20240102 093000123,95.6,95.7,0\n20240102 093000123,95.7,95.8,0\n20240102 093100223,95.4,95.6,0\n",
        "if the rows are trades or quotes make bars of them",
        {"x": bars((MINUTE, 95.6, 95.7, 95.6, 95.7), (NEXT, 95.4, 95.4, 95.4, 95.4))},
        given="--columns date,close,_,_",
    ),
    "NinjaTrader, ticks": Refused(
        "20240102 000000 1230000;1.10427;1.1042;1.1043;900000\n20240102 000000 2230000;1.10428;1.1042;1.1043;800000\n",
        "found a row of prices, expected a header",
        {"x": QUOTES},
        "--columns date,close,_,_,_",
    ),
    "Dukascopy, ticks": Refused(
        "Gmt time,Ask,Bid,AskVolume,BidVolume\n02.01.2024 00:00:00.123,1.10427,1.1042,1.5,1.2\n"
        "02.01.2024 00:00:00.223,1.10428,1.1042,1.1,0.75\n",
        "no close column",
        {"x": QUOTES},
        "--columns date,close,_,_,_",
    ),
    "MetaTrader 5, ticks": Refused(
        "<DATE>\t<TIME>\t<BID>\t<ASK>\t<LAST>\t<VOLUME>\t<FLAGS>\n2024.01.02\t00:00:00.123\t1.10427\t1.10429\t\t\t6\n"
        "2024.01.02\t00:00:00.223\t1.10428\t1.1043\t\t\t6\n",
        "the column of the close is empty",
        {"x": QUOTES},
        "--columns",
        "--columns date,time,close,_,_,_,_",
    ),
    "Deribit, times called ticks": Refused(
        "ticks,open,high,low,close,cost\n1704153600000,97.2,98.4,93.9,95.6,1\n1704240000000,94.2,95.9,93.4,94.3,1\n",
        "no date column",
        {"x": FOUR},
        '--date-column "ticks"',
    ),
    # Names of columns
    "a row of another order without a header": Refused(
        "1704067200,120.5,42350,42400,42200,42300\n1704070800,110.5,42450,42500,42310,42351\n1704074400,90.5,42650,42700,42400,42450\n",
        "found a row of prices, expected a header",
        {"x": CANDLES},
        "--columns date,_,close,high,low,open",
    ),
    "IQFeed": Refused(
        "2024-01-01 00:00:00,42400,42200,42300,42350,7,7,0\n2024-01-01 01:00:00,42500,42310,42351,42450,7,7,0\n"
        "2024-01-01 02:00:00,42700,42400,42450,42650,7,7,0\n",
        "found a row of prices, expected a header",
        {"x": CANDLES},
        "--columns date,high,low,open,close,_,_,_",
    ),
    "CSI, years of two digits, no header": Refused(
        "240102,97.2,98.4,93.9,95.6,7200,100\n240103,94.2,95.9,93.4,94.3,5200,110\n",
        "found a row of prices, expected a header",
        {"x": FOUR},
        "--columns date,open,high,low,close,_,_",
        "--columns date,open,high,low,close,_,_ --date-format %y%m%d",
    ),
    "mujinzou, shares of a day in one line each": Refused(
        "2024/1/4,1301,11,1301 Kyokuyo,3700,3715,3690,3705,12300,T1\n2024/1/4,1332,11,1332 Nissui,758,765,750,760,2300,T1\n",
        "found a row of prices, expected a header",
        {
            "1301": bars(("2024-01-04", 3700, 3715, 3690, 3705)),
            "1332": bars(("2024-01-04", 758, 765, 750, 760)),
        },
        "--columns date,symbol,_,_,open,high,low,close,_,_",
    ),
    "names in a language that is not known": Refused(
        "Päev,Avamine,Kõrgeim,Madalaim,Sulgemine\n2024-01-02,97.2,98.4,93.9,95.6\n2024-01-03,94.2,95.9,93.4,94.3\n",
        "look like open, high, low and close of one symbol",
        {"x": FOUR},
        "--columns date,open,high,low,close",
    ),
    "names that are not known, with decimal commas and changes": Refused(
        "Päev;Sulgemine;Avamine;Kõrgeim;Madalaim;Muutus\n16.01.2024;95,6;97,2;98,4;93,9;-1,2\n17.01.2024;94,3;94,2;95,9;93,4;-1,3\n",
        "look like open, high, low and close of one symbol",
        {"x": closes(("2024-01-16", 95.6), ("2024-01-17", 94.3))},
        "--columns date,close,open,high,low,_",
    ),
    "a ticker over all of its columns": Refused(
        "Date,AAPL,AAPL.1,AAPL.2,AAPL.3,AAPL.4\n2024-01-02,95.6,98.4,93.9,97.2,7200\n2024-01-03,94.3,95.9,93.4,94.2,5200\n",
        "look like open, high, low and close of one symbol",
        {"x": FOUR},
        "--columns date,close,high,low,open,_",
    ),
    "no close": Refused(
        "Date,Open,High,Low,Rounded\n2024-01-02,97.2,98.4,93.9,95.6\n2024-01-03,94.2,95.9,93.4,94.3\n",
        "no close column",
        {"x": closes(("2024-01-02", 95.6), ("2024-01-03", 94.3))},
        "--columns date,open,high,low,close",
    ),
    "prices of an index beside earnings and rates": Refused(
        "Date,SP500,Dividend,Earnings,Long Interest Rate,Real Price,PE10\n1871-01-01,4.44,0.26,0.4,5.32,89,0\n1871-02-01,4.5,0.26,0.4,5.32,87.53,0\n",
        "no close column",
        {"x": closes(("1871-01-01", 4.44), ("1871-02-01", 4.5))},
        "--columns date,close,_,_,_,_,_",
    ),
    # Times
    "hours that clocks showed twice, ENTSO-E": Refused(
        '"MTU (CET/CEST)","Day-ahead Price [EUR/MWh]"\n"29.10.2023 01:00 - 29.10.2023 02:00 (CET/CEST)","5"\n'
        '"29.10.2023 02:00 - 29.10.2023 03:00 (CET/CEST)","6"\n"29.10.2023 02:00 - 29.10.2023 03:00 (CET/CEST)","7"\n'
        '"29.10.2023 03:00 - 29.10.2023 04:00 (CET/CEST)","8"\n',
        "this time occurs twice, as clocks are put back",
        {
            "x": closes(
                ("2023-10-28T23:00:00.000000000", 5),
                ("2023-10-29T00:00:00.000000000", 6),
                ("2023-10-29T01:00:00.000000000", 7),
                ("2023-10-29T02:00:00.000000000", 8),
            )
        },
    ),
    "hours that clocks showed twice, in New York": Refused(
        "Datetime,Symbol,Close\n2024-11-03 00:30:00,A,1\n2024-11-03 01:30:00,A,2\n2024-11-03 01:30:00,A,3\n2024-11-03 01:30:00,B,4\n",
        "in America/New_York this time occurs twice",
        {
            "A": closes(
                ("2024-11-03T04:30:00.000000000", 1),
                ("2024-11-03T05:30:00.000000000", 2),
                ("2024-11-03T06:30:00.000000000", 3),
            ),
            "B": closes(("2024-11-03T05:30:00.000000000", 4)),
        },
        given="--timezone America/New_York",
    ),
    "a zone in the header that may have summer time": Refused(
        "Time (EST),Close\n2024-07-02 09:30:00,1\n2024-07-02 09:31:00,2\n",
        "line 2: the name of the column of times gives their zone, but not its summer time",
        {"x": closes(("2024-07-02T13:30:00.000000000", 1), ("2024-07-02T13:31:00.000000000", 2))},
        "--timezone America/New_York",
    ),
    "a zone at the end of the header": Refused(
        "datetime_est,close\n2024-07-02 09:30:00,1\n2024-07-02 09:31:00,2\n",
        "gives their zone, but not its summer time",
        {"x": closes(("2024-07-02T13:30:00.000000000", 1), ("2024-07-02T13:31:00.000000000", 2))},
        "--timezone America/New_York",
    ),
    "a zone in the header without summer time": Refused(
        "Time (EST),Close\n2024-07-02 09:30:00,1\n2024-07-02 09:31:00,2\n",
        "else one of a fixed offset",
        {"x": closes(("2024-07-02T14:30:00.000000000", 1), ("2024-07-02T14:31:00.000000000", 2))},
        "Etc/GMT+5",
        "--timezone Etc/GMT+5",
    ),
    "how Python shows a time": Refused(
        'Date,Close\n"datetime.date(2024, 1, 2)",95.6\n"datetime.date(2024, 1, 3)",94.3\n',
        'found the date "datetime.date(2024, 1, 2)"',
        {"x": closes(("2024-01-02", 95.6), ("2024-01-03", 94.3))},
        "--date-format with a pattern",
        '--date-format "datetime.date(%Y, %m, %d)"',
    ),
    "days that R counted": Refused(
        '"date","close"\n19724,95.6\n19725,94.3\n',
        'found the date "19724"',
        {"x": closes(("2024-01-02", 95.6), ("2024-01-03", 94.3))},
        "--date-format epoch-days",
    ),
    "days that Excel counted": Refused(
        '"date","close"\n45293,95.6\n45294,94.3\n',
        'found the date "45293"',
        {"x": closes(("2024-01-02", 95.6), ("2024-01-03", 94.3))},
        "--date-format excel",
    ),
    "days that MATLAB counted": Refused(
        "date,close\n739253,95.6\n739254,94.3\n",
        'found the date "739253"',
        {"x": closes(("2024-01-02", 95.6), ("2024-01-03", 94.3))},
        "--date-format matlab",
    ),
    "years of the Persian calendar": Refused(
        "J-Date,Gregorian,Close\n1402-10-12,2024-01-02,95.6\n1402-10-13,2024-01-03,94.3\n",
        'found the date "1402-10-12"',
        {"x": closes(("2024-01-02", 95.6), ("2024-01-03", 94.3))},
        "--date-column",
        "--date-column Gregorian",
    ),
    # Numbers
    "futures of bonds in 32nds": Refused(
        "Date,Open,High,Low,Last\n01/16/2024,110'165,110'310,110'010,110'210\n01/17/2024,110'202,110'255,110'000,110'077\n",
        'line 2: found "110\'165", expected a price that is not both 110165 and one in fractions',
        {
            "x": bars(
                ("2024-01-16", 110 + 16.5 / 32, 110 + 31 / 32, 110 + 1 / 32, 110 + 21 / 32),
                ("2024-01-17", 110 + 20.25 / 32, 110 + 25.5 / 32, 110, 110 + 7.75 / 32),
            )
        },
    ),
    "thousands that look like 32nds": Refused(
        "Date,Open,Close\n01/16/2024,110'165,110'210\n01/17/2024,110'202,110'077\n",
        "if ' separates thousands",
        {"x": closes(("2024-01-16", 110210), ("2024-01-17", 110077))},
        "--decimal .",
    ),
    "futures of grains in eighths": Refused(
        "Date,Open,High,Low,Last\n01/16/2024,452-4,455-2,450-0,453-6\n01/17/2024,453-4,455-2,440-0,443-6\n",
        'line 2: found "452-4", a price in fractions',
        {"x": bars(("2024-01-16", 452.5, 455.25, 450, 453.75), ("2024-01-17", 453.5, 455.25, 440, 443.75))},
    ),
    # Shapes
    "dates across": Refused(
        "Symbol,2024-01-02,2024-01-03\nAAPL,1,2\nMSFT,3,4\n",
        "the dates stand across the columns",
        {
            "AAPL": closes(("2024-01-02", 1), ("2024-01-03", 2)),
            "MSFT": closes(("2024-01-02", 3), ("2024-01-03", 4)),
        },
    ),
    "years across, as of the World Bank": Refused(
        "Country Name,Country Code,Indicator Name,Indicator Code,1960,1961,1962\nAruba,ABW,GDP,NY.GDP,1,2,3\nChile,CHL,GDP,NY.GDP,4,5,6\n",
        "the dates stand across the columns",
        {
            "Aruba": closes(("1960-01-01", 1), ("1961-01-01", 2), ("1962-01-01", 3)),
            "Chile": closes(("1960-01-01", 4), ("1961-01-01", 5), ("1962-01-01", 6)),
        },
    ),
    "a row for each value": Refused(
        "date,symbol,variable,value\n2024-01-02,AAPL,open,1\n2024-01-02,AAPL,close,2\n",
        'each row holds one value, and "variable" says which',
        {"AAPL": [("2024-01-02", {"open": 1, "close": 2})]},
    ),
    "each line in quotes": Refused(
        '"Date,Open,High,Low,Close,Volume"\n"2024-01-02,97.2,98.4,93.9,95.6,7200"\n"2024-01-03,94.2,95.9,93.4,94.3,5200"\n',
        "each line stands in quotes",
        {"x": TWO},
    ),
    "Markdown": Refused(
        "| Date | Open | High | Low | Close | Volume |\n|------|------|------|-----|-------|--------|\n"
        "| 2024-01-02 | 97.2 | 98.4 | 93.9 | 95.6 | 7200 |\n| 2024-01-03 | 94.2 | 95.9 | 93.4 | 94.3 | 5200 |\n",
        "is a table of Markdown",
        {"x": TWO},
    ),
    "StockCharts": Refused(
        "$SPX  Daily\n  No.  Symbol  Date      Open   High   Low    Close  Volume\n  1    $SPX    20240102  97.2   98.4   93.9   95.6   7200\n"
        "  2    $SPX    20240103  94.2   95.9   93.4   94.3   5200\n",
        "columns are aligned by runs of spaces",
        {"$SPX": TWO},
    ),
    "tables of several symbols, one below the other": Refused(
        "AAPL\nDate,Open,High,Low,Close,Volume\n2024-01-02,97.2,98.4,93.9,95.6,7200\n2024-01-03,94.2,95.9,93.4,94.3,5200\n"
        "MSFT\nDate,Open,High,Low,Close,Volume\n2024-01-02,273.6,275.6,266.5,270.6,2100\n",
        'line 5: "MSFT" stands alone, as the symbol of the rows below it does',
        {"AAPL": TWO, "MSFT": MSFT[:1]},
    ),
    "columns aligned by spaces, below a title": Refused(
        "Title:               S&P 500\nSeries ID:           SP500\nUnits:               Index\n\nDATE        VALUE\n"
        "2024-01-02  4742.83\n2024-01-03  4704.81\n",
        "columns are aligned by runs of spaces",
        {"x": closes(("2024-01-02", 4742.83), ("2024-01-03", 4704.81))},
    ),
}


# Whose command a Python of its own runs.
BY_ITSELF = "trades of one time"


def run(command: str, folder: Path, monkeypatch: pytest.MonkeyPatch, *, by_itself: bool) -> None:
    """Run a command of the shell; this process stands for another Python, which would import pandas anew."""
    if command.startswith("python -c ") and not by_itself:
        # The shell says what it makes of the quotes.
        printed = command.replace("python -c", "printf %s", 1)
        code = subprocess.run(printed, shell=True, check=True, stdout=subprocess.PIPE, text=True).stdout
        with monkeypatch.context() as patch:
            patch.chdir(folder)
            exec(compile(code, "<string>", "exec"), {"__name__": "__main__"})
    else:
        command = re.sub("^python ", f"{shlex.quote(sys.executable)} ", command)
        subprocess.run(command, shell=True, cwd=folder, check=True)


@pytest.mark.parametrize("case", CASES)
def test_the_way_out_works(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = CASES[case]
    path = tmp_path / found.name
    path.write_text(found.text, encoding="utf-8")
    with pytest.raises(PriceFileError, match=re.escape(found.said)) as caught:
        import_prices([path], tmp_path / "m.h5", options_of(found.given))
    message = str(caught.value)
    assert "\n" not in message
    assert [file.name for file in tmp_path.iterdir()] == [found.name]
    if found.option:
        assert found.option in message
        import_prices([path], tmp_path / "m.h5", options_of(found.typed or found.option))
    else:
        (command,) = COMMAND.findall(message)
        command = command.replace("FILE", path.name).replace("NEW", "new.csv")
        run(command, tmp_path, monkeypatch, by_itself=case == BY_ITSELF)
        (tmp_path / "new.csv").replace(path)
        kept = found.given if "--timezone" in found.given else ""
        import_prices([path], tmp_path / "m.h5", options_of(kept))
    require(load(tmp_path / "m.h5"), found.wanted)


@pytest.mark.parametrize("text", ["1.70E+12", "1.70407E+12", "1.7E+09", "2.02E+07"])
def test_times_that_a_spreadsheet_cut_off_are_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text(f"time,open,high,low,close\n{text},97.2,98.4,93.9,95.6\n{text},94.2,95.9,93.4,94.3\n")
    with pytest.raises(
        PriceFileError, match="a spreadsheet has cut them off; import the file as it was"
    ) as caught:
        import_prices([path], tmp_path / "m.h5")
    assert f'line 2: found the date "{text}"' in str(caught.value)


def test_another_column_is_read_where_a_spreadsheet_cut_times_off(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("unix,day,close\n1.70E+12,2024-01-02,95.6\n1.70E+12,2024-01-03,94.3\n")
    import_prices([path], tmp_path / "m.h5", ImportOptions(date_column="day"))
    require(load(tmp_path / "m.h5"), {"x": closes(("2024-01-02", 95.6), ("2024-01-03", 94.3))})


def test_one_currency_code_in_an_old_encoding(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    text = "data;1USD;100HUF;pełny numer tabeli\n;dolar;forint (Węgry);\n20240102;3,9432;1,1404;001/A\n20240103;3,9909;1,1440;002/A\n"
    path.write_bytes(text.encode("cp1250"))
    summary = import_prices([path], tmp_path / "m.h5")
    require(
        load(tmp_path / "m.h5"),
        {
            "1USD": closes(("2024-01-02", 3.9432), ("2024-01-03", 3.9909)),
            "100HUF": closes(("2024-01-02", 1.1404), ("2024-01-03", 1.144)),
        },
    )
    assert summary.ignored == ["pełny numer tabeli"]


@pytest.mark.parametrize("encoding", ["cp1253", "cp1255", "cp1256", "cp874", "cp850", "mac_roman"])
def test_old_encodings_of_headers(encoding: str, tmp_path: Path) -> None:
    names = {
        "cp1253": "Ημερομηνία,Κλείσιμο",
        "cp1255": "תאריך,שער נעילה",
        "cp1256": "التاريخ,الإغلاق",
        "cp874": "วันที่,ราคาปิด",
        "cp850": "Datum,Eröffnung,Kurs",
        "mac_roman": "Datum,Eröffnung,Kurs",
    }[encoding]
    opened = "94," if "Kurs" in names else ""
    (tmp_path / "x.csv").write_bytes(f"{names}\n16/01/2024,{opened}95.6\n".encode(encoding))
    import_prices([tmp_path / "x.csv"], tmp_path / "m.h5")
    require(load(tmp_path / "m.h5"), {"x": closes(("2024-01-16", 95.6))})


def test_columns_are_named_by_their_order_in_every_format(tmp_path: Path) -> None:
    import pandas

    frame = pandas.DataFrame({"a": ["2024-01-02", "2024-01-03"], "b": [1, 2], "c": [95.6, 94.3]})
    frame.to_parquet(tmp_path / "x.parquet")
    frame.to_excel(tmp_path / "y.xlsx", index=False)
    paths = [tmp_path / "x.parquet", tmp_path / "y.xlsx"]
    import_prices(paths, tmp_path / "m.h5", ImportOptions(columns="date,_,close"))
    rows = closes(("2024-01-02", 95.6), ("2024-01-03", 94.3))
    require(load(tmp_path / "m.h5"), {"x": rows, "y": rows})


def test_many_files_of_a_day_are_understood_alike(tmp_path: Path) -> None:
    for day in ("02JAN2024", "03JAN2024"):
        (tmp_path / f"cm{day}bhav.csv").write_text("SYMBOL,CLOSE\nAAA,95.6\n")
    paths = sorted(tmp_path.iterdir())
    summary = import_prices(paths, tmp_path / "m.h5", ImportOptions(date_column="file-name"))
    require(load(tmp_path / "m.h5"), {"AAA": closes(("2024-01-02", 95.6), ("2024-01-03", 95.6))})
    ((said, files),) = summary.understood.items()
    assert "dates in the file's name" in said
    assert files == ["cm02JAN2024bhav.csv", "cm03JAN2024bhav.csv"]


def test_names_of_another_number_of_columns_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("Date,Open,Close\n2024-01-02,1,2\n")
    with pytest.raises(
        PriceFileError, match="--columns names 2 columns, the table has 3: 'Date', 'Open', 'Close'"
    ):
        import_prices([tmp_path / "x.csv"], tmp_path / "m.h5", ImportOptions(columns="date,close"))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("AAPL.csv", "the file's name holds no date"),
        ("20240102_20240103.csv", "several dates: 20240102, 20240103"),
    ],
)
def test_a_name_without_one_date_is_refused(name: str, said: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("Symbol,Close\nAAPL,95.6\n")
    with pytest.raises(PriceFileError, match=said):
        import_prices([tmp_path / name], tmp_path / "m.h5", ImportOptions(date_column="file-name"))
