-- Argument checks. The scripts repeat the gateway's checks: a script that trusts its caller sells
-- whatever the caller asks for.
local LARGEST = 1000000000 -- units, and milliseconds of any duration: far below 2^53
local LATEST = 99999999999999 -- an instant in ms that %.14g still prints exactly
-- A counter of an account: `adjust` keeps within it, `restore` and `repair` accept no other. Units
-- that return are never refused, so counters outgrow LARGEST.
local LARGEST_COUNTER = LATEST

-- `% 1 == 0` is false for nan and inf and needs no call; a request is checked with it six times.
local function is_integer(value, low, high)
  return type(value) == 'number' and value % 1 == 0 and value >= low and value <= high
end

-- Bytes that are not UTF-8 would go into an event that nobody can decode.
local function is_utf8(value)
  if not value:find('[\128-\255]') then return true end
  local beyond_ascii = { -- made here, since most calls have no use for it
    '[\194-\223][\128-\191]', '\224[\160-\191][\128-\191]',
    '[\225-\236\238\239][\128-\191][\128-\191]', '\237[\128-\159][\128-\191]',
    '\240[\144-\191][\128-\191][\128-\191]', '[\241-\243][\128-\191][\128-\191][\128-\191]',
    '\244[\128-\143][\128-\191][\128-\191]',
  }
  for _, sequence in ipairs(beyond_ascii) do value = value:gsub(sequence, ' ') end
  return not value:find('[\128-\255]')
end

local function is_text(value, longest)
  if type(value) ~= 'string' or #value < 1 or #value > longest then return false end
  -- Most text is printable ASCII: one anchored class costs a fourth of the full UTF-8 check.
  return value:find('^[ -~]+$') ~= nil or not value:find('%c') and is_utf8(value)
end

-- Parses a decimal argument; nil for any other text. `tonumber` alone also accepts 0x10, 1e3, nan.
local function natural(text)
  return tonumber((text or ''):match('^%d+$') or '')
end

local function is_word(value, shortest, longest)
  return type(value) == 'string' and #value >= shortest and #value <= longest
    and value:find('^[%w_%-]*$') ~= nil
end

local function is_token(value)
  return is_word(value, 22, 22)
end

local function is_fingerprint(value)
  return is_word(value, 1, 32)
end

-- Checks a flat list of triples {item, account or 0, quantity, ...}. With account 0 the script
-- chooses the location.
local function are_lines(value, most)
  if type(value) ~= 'table' or #value == 0 or #value % 3 ~= 0 or #value > 3 * most then
    return false
  end
  for i = 1, #value, 3 do
    if not (is_integer(value[i], 1, LARGEST) and is_integer(value[i + 1], 0, LARGEST)
            and is_integer(value[i + 2], 1, LARGEST)) then
      return false
    end
  end
  return true
end

local function unpacked(packed)
  local ok, value = pcall(cmsgpack.unpack, packed)
  if ok and type(value) == 'table' then return value end
  return nil
end

local function malformed(what)
  return cmsgpack.pack({'malformed', what})
end
