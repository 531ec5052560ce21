# For the checks beside: a filter that selects no test is an error, as its module may have moved.

# Fails unless each filter is part of the path of a test: filters_match CARGO_TEST_ARGUMENT... -- FILTER...
filters_match() {
  local arguments=() tests filter
  while [ "$1" != -- ]; do
    arguments+=("$1")
    shift
  done
  shift
  tests=$(cargo test --quiet "${arguments[@]}" -- --list --format terse) || return
  grep --quiet ': test$' <<<"$tests" || { echo "no tests in: cargo test ${arguments[*]}"; return 1; }
  for filter in "$@"; do
    [ "$filter" != --skip ] || continue
    grep --quiet --fixed-strings -- "$filter" <<<"$tests" ||
      { echo "no test matches '$filter': cargo test ${arguments[*]}"; return 1; }
  done
}
