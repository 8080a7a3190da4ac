#!/usr/bin/env bash
# Send a de-identified DICOM study to a glioserve server over HTTP, which is open where it runs with --http. Needs curl and jq.
#
#   ./predict.sh STUDY http://127.0.0.1:8000 --heatmap heatmap.nrrd
set -euo pipefail

contract=2 # major version that this script was written for
# Codes that a call can end with and that docs/errors.md marks "yes, with backoff".
retryable="GLIO-3102 GLIO-3103 GLIO-3104 GLIO-4101 GLIO-4102 GLIO-4103 GLIO-4111"

usage="usage: predict.sh STUDY URL [--tls-ca FILE] [--token-file FILE] [--timeout-s SECONDS] [--heatmap FILE]"
study=${1:?$usage} url=${2:?$usage}
shift 2
options=(--silent --show-error) timeout_s=120 heatmap=
while (($# > 1)); do
  case $1 in
    --tls-ca) options+=(--cacert "$2") ;;
    --token-file) options+=(--header "authorization: Bearer $(<"$2")") ;;
    --timeout-s) timeout_s=$2 ;;
    --heatmap) heatmap=$2 ;;
    *) echo "$usage" >&2; exit 2 ;;
  esac
  shift 2
done

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# One BYTES tensor: each file has its length before it, as four bytes, the lowest first.
files=0
: >"$work/instances"
while IFS= read -r -d '' file; do
  size=$(stat -L -c %s "$file")
  # shellcheck disable=SC2059 # the format is the four bytes
  printf "$(printf '\\x%02x\\x%02x\\x%02x\\x%02x' $((size & 255)) $((size >> 8 & 255)) $((size >> 16 & 255)) $((size >> 24)))"
  cat "$file"
  files=$((files + 1))
done < <(find "$study" -type f -print0 | sort -z) >"$work/instances"

# Write the request: a JSON header, then the tensor's bytes. The header's length goes into an HTTP header.
write_request() { # seconds left, whether to state the deadline by the clock
  jq --null-input --compact-output --argjson files "$files" --argjson bytes "$(stat -c %s "$work/instances")" \
    --argjson left_s "$1" --argjson state "$2" --argjson heatmap "$([[ $heatmap ]] && echo true || echo false)" '{
      inputs: [{name: "INSTANCES", datatype: "BYTES", shape: [$files], parameters: {binary_data_size: $bytes}}],
      outputs: ([{name: "SCORE"}, {name: "LABEL"}, {name: "PROBABILITIES"}, {name: "REPORT"}]
        + if $heatmap then [{name: "HEATMAP", parameters: {binary_data: true}}, {name: "HEATMAP_AFFINE"}] else [] end),
      parameters: ({timeout: ($left_s * 1000000)}
        + if $heatmap then {} else {heatmap: false} end
        + if $state then {deadline_unix_ms: ((now + $left_s) * 1000 | floor)} else {} end)
    }' | tr -d '\n' >"$work/header"
  cat "$work/header" "$work/instances" >"$work/request"
}

# Print the token anywhere in the message; without one, what the HTTP status or curl's exit code stands for.
code_of() { # status, message
  if [[ $2 =~ GLIO-[0-9]{4} ]]; then
    echo "${BASH_REMATCH[0]}"
  elif [[ $1 == 500 && $2 =~ tub\ process.*is\ not\ healthy|health\ mutex ]]; then
    echo GLIO-3103
  elif [[ $1 == 500 && $2 =~ Failed\ to\ .*\ shared\ memory ]]; then
    echo GLIO-4101
  else
    case $1 in
      curl7 | curl52 | curl56 | 429 | 502 | 503) echo GLIO-4101 ;; # no connection, or one that broke; a queue that is full
      curl28 | 504) echo GLIO-4102 ;;                             # no answer in time
      404) echo GLIO-4103 ;;
    esac
  fi
}

# Ask until there is an answer, a refusal that will stay one, or no time.
deadline=$((SECONDS + timeout_s)) attempt=0 lost=0 clocks_agree=true
while :; do
  left_s=$((deadline > SECONDS ? deadline - SECONDS : 1))
  write_request "$left_s" "$clocks_agree"
  ended=0
  status=$(curl "${options[@]}" --max-time "$left_s" --output "$work/answer" --dump-header "$work/headers" --write-out '%{http_code}' \
    --header "Inference-Header-Content-Length: $(stat -c %s "$work/header")" --header 'Expect:' \
    --header 'Content-Type: application/octet-stream' --data-binary "@$work/request" \
    "$url/v2/models/glioma/infer" 2>"$work/curl") || ended=$?
  [[ $ended == 0 && $status == 200 ]] && break
  if ((ended)); then
    status=curl$ended message=$(<"$work/curl")
  else
    message=$(jq --raw-output .error "$work/answer" 2>/dev/null || head -c 300 "$work/answer")
  fi
  code=$(code_of "$status" "$message")
  [[ $code == GLIO-3104 ]] && clocks_agree=false
  [[ $code == GLIO-3103 ]] && lost=$((lost + 1))
  most=$((attempt < 4 ? 1 << attempt : 20)) # half seconds
  pause_s=$((RANDOM % (most + 1) / 2 + 3 * lost))
  if [[ ! $code || " $retryable " != *" $code "* ]] || ((lost > 3 || SECONDS + pause_s >= deadline)); then
    echo "$status: $message" >&2
    [[ $code && " $retryable " == *" $code "* ]] && exit 3 # nothing is wrong with the study: send it later
    case $status in
      400 | 413) exit 4 ;;               # the study, or the request, must change
      401 | 403 | curl35 | curl60) exit 5 ;; # the credentials or the TLS settings must change
      *) exit 1 ;;
    esac
  fi
  sleep "$pause_s"
  attempt=$((attempt + 1))
done

# With a binary output, the answer's JSON is as long as a header says and the tensor's bytes come behind it.
length=$(tr -d '\r' <"$work/headers" | sed -n 's/^Inference-Header-Content-Length: //Ip')
head -c "${length:-$(stat -c %s "$work/answer")}" "$work/answer" >"$work/answer.json"
jq '[.outputs[] | {(.name): (.data // .shape)}] | add' "$work/answer.json" >"$work/outputs" # in any order
jq '.REPORT[0] | fromjson' "$work/outputs" >"$work/report"
speaks=$(jq --raw-output .contract_version "$work/report")
if [[ ${speaks%%.*} != "$contract" ]]; then
  echo "the server speaks contract $speaks" >&2
  exit 1
fi
printf 'score %.6f\n' "$(jq '.SCORE[0]' "$work/outputs")"
label=$(jq --raw-output '.LABEL[0]' "$work/outputs")
echo "label ${label:-none: $(jq --raw-output '.abstained_because | join("; ")' "$work/report")}"
printf 'probabilities %.6f %.6f\n' $(jq '.PROBABILITIES[]' "$work/outputs")
jq --raw-output '.warnings[] | "warning " + .' "$work/report"
if [[ $heatmap ]]; then
  # [z, y, x] on disk is x fastest, and LPS is the affine's own space.
  {
    printf '%s\n' NRRD0004 'type: float' 'dimension: 3' 'space: left-posterior-superior' 'endian: little' 'encoding: raw'
    jq --raw-output '.HEATMAP as [$z, $y, $x] | .HEATMAP_AFFINE as $a
      | [range(4) | "(\($a[.]),\($a[. + 4]),\($a[. + 8]))"]
      | "sizes: \($x) \($y) \($z)\nspace directions: \(.[:3] | join(" "))\nspace origin: \(.[3])\n"' "$work/outputs"
    tail -c "+$((length + 1))" "$work/answer"
  } >"$heatmap"
  echo "heatmap $(jq --raw-output '.HEATMAP | join(" ")' "$work/outputs")"
fi
