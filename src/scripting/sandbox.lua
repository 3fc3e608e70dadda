-- What a script finds. Tables that scripts share are shown through empty ones that cannot be written: Lua 5.1 knows no other
-- way. `explain` makes a table of what a function of the host raised.
local globals, behind, explain = ...
local error, type, tostring, select, next, setmetatable, getmetatable = error, type, tostring, select, next, setmetatable, getmetatable
local rawget, rawset, pairs, pcall, xpcall, load, loadstring, unpack = rawget, rawset, pairs, pcall, xpcall, load, loadstring, unpack
local byte, resume = string.byte, coroutine.resume

local READONLY = "Attempt to modify a readonly table"
-- `behind` says what is behind a table that cannot be written.
setmetatable(behind, { __mode = "k" })

local function refuse() error(READONLY, 2) end

local function missing(_, name)
    error("Script attempted to access nonexistent global variable '" .. tostring(name) .. "'", 2)
end

local function protect(real, shown)
    shown = shown or {}
    behind[shown] = real
    local rules = { __index = real, __newindex = refuse }
    rules.__metatable = setmetatable({}, { __index = rules, __newindex = refuse, __metatable = false })
    return setmetatable(shown, rules)
end

local function strict(real) return setmetatable(real, { __index = missing, __metatable = false }) end

local function expect_table(name, ...)
    local found = select("#", ...) == 0 and "no value" or type((...))
    if found ~= "table" then
        error("bad argument #1 to '" .. name .. "' (table expected, got " .. found .. ")", 3)
    end
end

globals.next = function(...)
    expect_table("next", ...)
    local shown, key = ...
    return next(behind[shown] or shown, key)
end

-- An error as a table: what the host raised.
local function as_table(failure)
    if type(failure) == "userdata" then return explain(failure) or failure end
    return failure
end

-- An error as text: what `pcall` returns of an error reply.
local function as_text(failure)
    failure = as_table(failure)
    if type(failure) == "table" and type(rawget(failure, "err")) == "string" then return failure.err end
    return failure
end

local function settle(ok, ...)
    if ok then return true, ... end
    return false, as_text((...))
end

globals.pcall = function(...) return settle(pcall(...)) end

globals.xpcall = function(run, handle)
    return xpcall(run, function(failure) return handle(as_table(failure)) end)
end

local function settle_resumed(ok, ...)
    if ok then return true, ... end
    return false, as_table((...))
end

globals.coroutine.resume = function(...) return settle_resumed(resume(...)) end

-- Compiled code is not taken from scripts: it is not checked, and could do anything.
globals.loadstring = function(...)
    local source = ...
    if type(source) == "string" and byte(source) == 27 then return nil, "compiled code is not loaded" end
    return loadstring(...)
end

globals.load = function(...)
    local read, name = ...
    if type(read) ~= "function" then
        local found = select("#", ...) == 0 and "no value" or type(read)
        error("bad argument #1 to 'load' (function expected, got " .. found .. ")", 2)
    end
    local begun = false
    return load(function()
        local piece = read()
        if not begun and type(piece) == "string" and piece ~= "" then
            begun = true
            if byte(piece) == 27 then error("compiled code is not loaded", 0) end
        end
        return piece
    end, name)
end

return protect, strict, getmetatable("")
