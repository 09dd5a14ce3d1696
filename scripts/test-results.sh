# Turns what the test programs report into lines "pass|fail|skip STEP NAME [REASON]", and these into
# the summary. Sourced by ./test.
# shellcheck shell=bash

# gtest_results STEP FILE: one line for each case of one of GoogleTest's XML reports.
gtest_results() {
  awk -v step="$1" '
    function attribute(name,   text) {
      if (!match($0, " " name "=\"[^\"]*\"")) return ""
      text = substr($0, RSTART + length(name) + 3, RLENGTH - length(name) - 4)
      gsub(/&#x0A;/, " ", text); gsub(/&quot;/, "\"", text); gsub(/&lt;/, "<", text)
      gsub(/&gt;/, ">", text); gsub(/&apos;/, "\047", text); gsub(/&amp;/, "\\&", text)
      return text
    }
    function flush() { if (name != "") print outcome, step, name, reason; name = "" }
    /<testcase / {
      flush()
      name = attribute("classname") "." attribute("name"); gsub(/ /, "_", name)
      outcome = "pass"; reason = ""
      if (attribute("status") == "notrun") name = ""  # A DISABLED_ case.
      if (attribute("result") == "skipped") outcome = "skip"
    }
    /<skipped / { reason = attribute("message"); sub(/^[^ ]*:[0-9]+ /, "", reason) }
    /<failure / { outcome = "fail"; reason = substr(attribute("message"), 1, 300) }
    /<error / { outcome = "fail"; reason = substr(attribute("message"), 1, 300) }
    END { flush() }' "$2"
}

# ctest_failures FILE: names of the tests that ctest itself reports as failed or not run.
ctest_failures() {
  awk '/<testcase / && !/status="run"/ && match($0, /name="[^"]*"/) {
    print substr($0, RSTART + 6, RLENGTH - 7) }' "$1"
}

# collect_ctest STEP CTEST_XML GTEST_FOLDER: a program that failed without a failing case (it crashed,
# hung, or was never built) is a failure of its own.
collect_ctest() {
  local step=$1 file name
  for file in "$3"/*.xml; do
    [ -f "$file" ] && gtest_results "$step" "$file"
  done
  if [ ! -f "$2" ]; then
    echo "fail $step ctest wrote no report"
    return
  fi
  ctest_failures "$2" | while read -r name; do
    if [ ! -f "$3/$name.xml" ] || ! grep -q '<failure ' "$3/$name.xml"; then
      echo "fail $step $name ended abnormally, see build/test/$step.log"
    fi
  done
}

# is_expected NAME FILE: a line of FILE (STEP/NAME, * stands for anything, # begins a comment) fits.
is_expected() {
  local pattern
  while read -r pattern _; do
    case $pattern in '' | '#'*) continue ;; esac
    # shellcheck disable=SC2254  # It is meant as a pattern.
    case $1 in $pattern) return 0 ;; esac
  done <"$2"
  return 1
}

# summary RESULTS TIMES EXPECTED_SKIPS: the table, what failed and what was skipped, the final line.
# Fails when anything failed, nothing passed, or CI meets a skip it does not expect.
summary() {
  local results=$1 times=$2 expected=$3 unexpected=0 outcome step name reason seconds failed skipped passed
  count() { grep -c "^$1 ${2:-}" "$results" || true; }
  echo
  printf '%-8s %8s %8s %8s %10s\n' step passed failed skipped seconds
  while read -r step seconds; do
    printf '%-8s %8d %8d %8d %10s\n' "$step" "$(count pass "$step ")" "$(count fail "$step ")" \
      "$(count skip "$step ")" "$seconds"
  done <"$times"
  echo
  while read -r outcome step name reason; do
    case $outcome in
      fail) echo "FAIL $step/$name: $reason" ;;
      skip)
        if is_expected "$step/$name" "$expected"; then
          echo "SKIP $step/$name: $reason"
        else
          echo "SKIP (unexpected) $step/$name: $reason"
          unexpected=$((unexpected + 1))
        fi
        ;;
    esac
  done <"$results"
  passed=$(count pass) failed=$(count fail) skipped=$(count skip)
  if [ "${CI:-}" = true ] && [ $unexpected -gt 0 ]; then
    echo "FAIL: $unexpected skipped that tests/expected-skips does not name"
    failed=$((failed + unexpected)) skipped=$((skipped - unexpected))
  fi
  echo "$passed passed, $failed failed, $skipped skipped"
  [ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
}
