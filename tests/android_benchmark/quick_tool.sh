#!/bin/sh
# A benchmark_model that measures nothing: it prints the real tool's words at
# once, and with FAULT set misbehaves in the real tool's ways.
threads=1
delegate=
runs=5
for argument in "$@"; do
  case $argument in
    --num_threads=*) threads=${argument#*=} ;;
    --num_runs=*) runs=${argument#*=} ;;
    --use_xnnpack=true) delegate=XNNPACK ;;
    --use_nnapi=true) delegate=NNAPI ;;
    --external_delegate_path=*) delegate=EXTERNAL ;;
    --enable_op_profiling=true) profile=1 ;;
    --help)
      for name in graph num_threads use_xnnpack use_nnapi disable_nnapi_cpu \
          result_file_path; do
        printf '\t--%s=0\tstring\toptional\ttext\n' $name >&2
      done
      exit 1 ;;
  esac
done
mean=${MEAN_US:-2000}
case $FAULT in
  exit) echo "ERROR: Failed to load model" >&2; exit 1 ;;
  not_executable) echo "sh: tool: Permission denied" >&2; exit 126 ;;
  killed) echo Killed >&2; exit 137 ;;
  threads) threads=$((threads + 1)) ;;
  few_runs) runs=$((runs - 1)) ;;
esac
echo "INFO: STARTING!"
[ "$FAULT" = unknown_flag ] &&
  echo "WARN: Unconsumed cmdline flags: --use_xnnpack=true"
[ "$FAULT" = warning ] && echo "WARN: Slow storage"
echo "INFO: Num threads: [$threads]"
[ -n "$profile" ] && echo "INFO: Enable op profiling: [1]"
[ "$FAULT" = cpuinfo ] &&
  echo "Error in cpuinfo: failed to parse the list of possible processors"
[ "$FAULT" = hang ] && while :; do sleep 0.1; done
case $FAULT in
  fallback) echo "INFO: Though $delegate delegate is explicitly applied, the \
model graph will not be executed by the delegate." ;;
  silent) ;;
  partial) echo "INFO: Explicitly applied $delegate delegate, and the model \
graph will be partially executed by the delegate w/ 3 delegate kernels." ;;
  *) [ -n "$delegate" ] && echo "INFO: Explicitly applied $delegate delegate, \
and the model graph will be completely executed by the delegate." ;;
esac
echo "INFO: count=3 first=2400 curr=2200 min=2100 max=2400 avg=2200 std=90 \
p5=2100 median=2200 p95=2400"
echo
echo "INFO: count=$runs first=$mean curr=$mean min=$((mean - 10)) \
max=$((mean + 10)) avg=$mean std=5 p5=$((mean - 9)) median=$mean \
p95=$((mean + 9))"
echo
[ "$FAULT" = no_final_line ] && exit 0
if [ "$FAULT" = truncated ]; then
  printf 'INFO: Inference timings in us: Init: 1'
  exit 0
fi
echo "INFO: Inference timings in us: Init: 900, First inference: 2400, \
Warmup (avg): 2200, Inference (avg): $mean"
echo "INFO: Memory footprint delta from the start of the tool (MB): init=1.5 \
overall=2.5"
if [ -n "$profile" ]; then
  tab=$(printf '\t')
  echo "INFO: Operator-wise Profiling Info for Regular Benchmark Runs:"
  echo "====== Run Order ======"
  echo "$tab[node type]$tab[first]$tab[avg ms]$tab[times called]$tab[Name]"
  echo "${tab}SOFTMAX${tab}0.5${tab}0.5${tab}1$tab[probs]:0"
  echo "${tab}FULLY_CONNECTED${tab}0.6${tab}0.75${tab}2$tab[out]:1"
  echo
  echo "Timings (microseconds): count=$runs curr=2000"
  echo "2 nodes observed"
fi
