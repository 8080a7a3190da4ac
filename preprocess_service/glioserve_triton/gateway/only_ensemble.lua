-- Refuses an inference request for any other model than the ensemble, one whose tensors lie in shared memory, and one
-- with a control character in a name: Triton reads each text up to its first NUL, so "heatmap\0x" would be "heatmap".
--
-- A message of gRPC is 1 byte (compressed?), 4 bytes (length) and a ModelInferRequest, whose field 1 is the model's name.
-- A field that is given twice counts as its last, so that every field is looked at; long ones are stepped over.

local ENSEMBLE = "@ENSEMBLE@"
local MOST_FIELDS = 65536
local MODEL, VERSION, ID, PARAMETERS, INPUT, OUTPUT = 1, 2, 3, 4, 5, 6
local NAME, DATATYPE = 1, 2
local INPUT_PARAMETERS, OUTPUT_PARAMETERS, KEY, VALUE, STRING = 4, 2, 1, 2, 3
local LONGEST_KEY = 64
local OTHER, IN_MEMORY, CONTROL = "@OTHER_MODEL@", "@SHARED_MEMORY@", "@CONTROL@"

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

-- The reason that visit gives for one of the fields from the offset to the last byte, or for what is not a message.
-- visit is called with each field's number and kind, and with the place and length of one that has a length.
local function walk(body, offset, last, visit)
  for _ = 1, MOST_FIELDS do
    if offset >= last then
      return offset > last and OTHER or nil
    end
    local tag, length, reason
    tag, offset = varint(body, offset, last)
    if not tag then
      return OTHER
    end
    local kind, number = tag % 8, math.floor(tag / 8)
    if kind == 2 then
      length, offset = varint(body, offset, last)
      if not length or offset + length > last then
        return OTHER
      end
      reason = visit(number, kind, offset, length)
      offset = offset + length
    else
      reason = visit(number, kind)
      if kind == 0 then
        length, offset = varint(body, offset, last)
        if not length then
          return OTHER
        end
      elseif kind == 1 then
        offset = offset + 8
      elseif kind == 5 then
        offset = offset + 4
      else
        return OTHER
      end
    end
    if reason then
      return reason
    end
  end
  return OTHER
end

-- The reason to refuse a name: a control character in it.
local function unfit_name(body, offset, length)
  return string.find(body:getBytes(offset, length), "%c") and CONTROL or nil
end

-- The reason to refuse a parameter: its name, or a NUL in its text. One of a tensor must not name shared memory.
local function unfit_parameter(body, entry, size, of_tensor)
  return walk(body, entry, entry + size, function(part, kind, offset, length)
    if part == KEY and kind == 2 then
      if of_tensor and length <= LONGEST_KEY and string.find(body:getBytes(offset, length), "shared_memory", 1, true) then
        return IN_MEMORY
      end
      return unfit_name(body, offset, length)
    elseif part == VALUE and kind == 2 then
      return walk(body, offset, offset + length, function(choice, choice_kind, text, text_length)
        if choice == STRING and choice_kind == 2 then
          return string.find(body:getBytes(text, text_length), "%z") and CONTROL or nil
        end
      end)
    end
  end)
end

-- The reason to refuse an input or output, whose parameters are the fields of the given number.
local function unfit_tensor(body, start, size, parameters)
  return walk(body, start, start + size, function(number, kind, offset, length)
    if kind ~= 2 then
      return nil
    elseif number == parameters then
      return unfit_parameter(body, offset, length, true)
    elseif number == NAME or (number == DATATYPE and parameters == INPUT_PARAMETERS) then
      return unfit_name(body, offset, length)
    end
  end)
end

-- The reason to refuse the message, nil where there is none.
local function refused_because(body, size)
  local named = false
  local reason = walk(body, 5, size, function(number, kind, offset, length)
    if number == MODEL then
      if kind ~= 2 or length ~= #ENSEMBLE or body:getBytes(offset, length) ~= ENSEMBLE then
        return OTHER
      end
      named = true
    elseif kind ~= 2 then
      return nil
    elseif number == INPUT then
      return unfit_tensor(body, offset, length, INPUT_PARAMETERS)
    elseif number == OUTPUT then
      return unfit_tensor(body, offset, length, OUTPUT_PARAMETERS)
    elseif number == PARAMETERS then
      return unfit_parameter(body, offset, length, false)
    elseif number == VERSION or number == ID then
      return unfit_name(body, offset, length)
    end
  end)
  return reason or (not named and OTHER or nil)
end

-- The access log has the identifier of a trace, and never another text that a caller writes there.
local function note_trace(handle)
  local traceparent = handle:headers():get("traceparent") or ""
  local trace = string.match(traceparent, "^00%-([0-9a-f]+)%-[0-9a-f]+%-[0-9a-f][0-9a-f]$")
  if trace and #trace == 32 then
    handle:streamInfo():dynamicMetadata():set("glioserve", "trace_id", trace)
  end
end

function envoy_on_request(handle)
  note_trace(handle)
  local body = handle:body(true)
  local size = body:length()
  if size < 5 then
    refuse(handle, "400", "@MALFORMED@")
  elseif string.byte(body:getBytes(0, 1)) ~= 0 then
    refuse(handle, "400", "@COMPRESSED@")
  else
    local reason = refused_because(body, size)
    if reason then
      refuse(handle, reason == CONTROL and "400" or "@CLOSED@", reason)
    end
  end
end
