#!/usr/bin/env bash
# From prices to a judged forecast on this machine: demo.sh RANKS. Everything it writes lies in demo/.
set -euo pipefail
ranks=$1
mkdir -p demo
rm -rf demo/run

echo "== Import the shipped prices"
hpc-lstm import examples/data/us_stocks_2000_2013.csv.gz -o demo/market.h5
echo
echo "== Train on $ranks ranks, then judge the model beside its baselines"
mpiexec -n "$ranks" hpc-lstm train examples/quickstart.toml --run-dir demo/run
echo
echo "== Where each rank's time went"
hpc-lstm timing demo/run --trace demo/trace.json
echo
echo "== Forecast the next day"
hpc-lstm predict demo/run --symbol AAPL
echo
echo "== Pictures"
hpc-lstm plot demo/market.h5 --symbol AAPL --sma 20,50,200 -o demo/AAPL.png
hpc-lstm report demo/run -o demo/report.html
echo
echo "The results lie in demo/: report.html, AAPL.png, trace.json, market.h5 and the run itself in run/."
