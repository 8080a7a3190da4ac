-- Refuses an inference request for any other model than the ensemble.
--
-- A message of gRPC is 1 byte (compressed?), 4 bytes (length) and a ModelInferRequest, whose field 1 is the model's name.
-- A field that is given twice counts as its last, so that every field is looked at; long ones are stepped over.

local ENSEMBLE = "@ENSEMBLE@"
local MOST_FIELDS = 65536

local function refuse(handle, status, text)
  handle:respond({[":status"] = status, ["content-type"] = "text/plain"}, text)
end

-- The number at the offset, and the offset behind it; nil where it is malformed.
local function varint(body, offset, size)
  local value, scale = 0, 1
  local bytes = body:getBytes(offset, math.min(10, size - offset))
  for index = 1, #bytes do
    local byte = string.byte(bytes, index)
    value = value + (byte % 128) * scale
    if byte < 128 then
      return value, offset + index
    end
    scale = scale * 128
  end
  return nil, offset
end

local function other_model(body, size)
  local offset, named = 5, false
  for _ = 1, MOST_FIELDS do
    if offset >= size then
      return not named
    end
    local tag, value
    tag, offset = varint(body, offset, size)
    if not tag then
      return true
    end
    local kind, number = tag % 8, math.floor(tag / 8)
    if number == 1 and kind ~= 2 then
      return true
    end
    if kind == 0 then
      value, offset = varint(body, offset, size)
      if not value then
        return true
      end
    elseif kind == 1 then
      offset = offset + 8
    elseif kind == 5 then
      offset = offset + 4
    elseif kind == 2 then
      value, offset = varint(body, offset, size)
      if not value or offset + value > size then
        return true
      end
      if number == 1 then
        if value ~= #ENSEMBLE or body:getBytes(offset, value) ~= ENSEMBLE then
          return true
        end
        named = true
      end
      offset = offset + value
    else
      return true
    end
  end
  return true
end

function envoy_on_request(handle)
  local body = handle:body(true)
  local size = body:length()
  if size < 5 then
    refuse(handle, "400", "@MALFORMED@")
  elseif string.byte(body:getBytes(0, 1)) ~= 0 then
    refuse(handle, "400", "@COMPRESSED@")
  elseif other_model(body, size) then
    refuse(handle, "@CLOSED@", "@OTHER_MODEL@")
  end
end
