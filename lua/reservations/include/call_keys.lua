-- The keys of calls that a reservation's record keeps, so that a repeated call takes effect once: a
-- list of "key:fingerprint". Needs `record`.

-- Returns 'replayed' or 'key_reused', nil for a new key.
local function used_before(keys, key, fingerprint)
  for _, known in ipairs(keys or {}) do
    if known == key .. ':' .. fingerprint then return 'replayed' end
    if known:sub(1, #key) == key then return 'key_reused' end
  end
end

-- An array has no gaps, so the places before the keys of extensions are filled as well; '' is no
-- payment reference.
local function keep_extend_key(record, key, fingerprint)
  record[PAYMENT_REFERENCE] = record[PAYMENT_REFERENCE] or ''
  record[RETURNED], record[RETURN_KEYS] = record[RETURNED] or {}, record[RETURN_KEYS] or {}
  record[EXTEND_KEYS] = record[EXTEND_KEYS] or {}
  table.insert(record[EXTEND_KEYS], key .. ':' .. fingerprint)
end
