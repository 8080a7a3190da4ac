-- Takes an API key from "authorization: Bearer KEY", and tells the servers and the log whose it is.
--
-- Only the SHA-256 of each key is here, so that the configuration gives no key away.

local CALLERS = {
@CALLERS@
}
local HEADER = "@HEADER@"
local LONGEST = 256

local bit = require("bit")
local band, bnot, bxor, rshift, ror, tobit = bit.band, bit.bnot, bit.bxor, bit.rshift, bit.ror, bit.tobit

-- FIPS 180-4: the first 32 bits of the fractions of the first 64 primes' cube roots, and of 8 primes' square roots.
local ROUND, START = {}, {}
do
  local function fraction(value)
    return tobit(math.floor((value % 1) * 4294967296))
  end
  local candidate = 2
  while #ROUND < 64 do
    local prime = true
    for divisor = 2, math.floor(math.sqrt(candidate)) do
      if candidate % divisor == 0 then
        prime = false
        break
      end
    end
    if prime then
      ROUND[#ROUND + 1] = fraction(candidate ^ (1 / 3))
      if #START < 8 then
        START[#START + 1] = fraction(candidate ^ (1 / 2))
      end
    end
    candidate = candidate + 1
  end
end

local function sha256(text)
  local bits = #text * 8
  text = text .. "\128" .. string.rep("\0", (55 - #text) % 64) .. "\0\0\0\0" .. string.char(
    band(rshift(bits, 24), 255), band(rshift(bits, 16), 255), band(rshift(bits, 8), 255), band(bits, 255))
  local hash = {unpack(START)}
  for block = 1, #text, 64 do
    local words = {}
    for index = 0, 15 do
      local b1, b2, b3, b4 = string.byte(text, block + index * 4, block + index * 4 + 3)
      words[index] = tobit(b1 * 16777216 + b2 * 65536 + b3 * 256 + b4)
    end
    for index = 16, 63 do
      local w15, w2 = words[index - 15], words[index - 2]
      local s0 = bxor(ror(w15, 7), ror(w15, 18), rshift(w15, 3))
      local s1 = bxor(ror(w2, 17), ror(w2, 19), rshift(w2, 10))
      words[index] = tobit(words[index - 16] + s0 + words[index - 7] + s1)
    end
    local a, b, c, d, e, f, g, h = unpack(hash)
    for index = 0, 63 do
      local s1 = bxor(ror(e, 6), ror(e, 11), ror(e, 25))
      local choice = bxor(band(e, f), band(bnot(e), g))
      local first = tobit(h + s1 + choice + ROUND[index + 1] + words[index])
      local s0 = bxor(ror(a, 2), ror(a, 13), ror(a, 22))
      local majority = bxor(band(a, b), band(a, c), band(b, c))
      h, g, f, e = g, f, e, tobit(d + first)
      d, c, b, a = c, b, a, tobit(first + s0 + majority)
    end
    for index, value in ipairs({a, b, c, d, e, f, g, h}) do
      hash[index] = tobit(hash[index] + value)
    end
  end
  local hex = {}
  for index, value in ipairs(hash) do
    hex[index] = bit.tohex(value)
  end
  return table.concat(hex)
end

function envoy_on_request(handle)
  local headers = handle:headers()
  local key = string.match(headers:get("authorization") or "", "^[Bb]earer (%S+)$")
  headers:remove("authorization")
  local caller = key and #key <= LONGEST and CALLERS[sha256(key)]
  if caller then
    headers:replace(HEADER, caller)
  else
    handle:respond({[":status"] = "401"}, key and "the key is not valid" or "a key is missing")
  end
end
