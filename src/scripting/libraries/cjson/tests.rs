//! What redis-server 7.0.15 made of the same scripts.

use super::super::testing::{check, run};

#[test]
fn values_are_written_in_their_shortest_form() {
    check(&[
        (
            "return cjson.encode(nil) .. cjson.encode(cjson.null) .. cjson.encode(true) .. cjson.encode({}) .. cjson.encode('')",
            "nullnulltrue{}\"\"",
        ),
        (
            "return cjson.encode({1, 1e14, 123456789012345, 0.1, 1/3, -0, 1e100, 5e-324})",
            "[1,1e+14,1.2345678901234e+14,0.1,0.33333333333333,-0,1e+100,4.9406564584125e-324]",
        ),
        (
            r#"return cjson.encode("a/b\\\"\b\f\n\r\t\v\0\1\31\127\128\255")"#,
            "\"a\\/b\\\\\\\"\\b\\f\\n\\r\\t\\u000b\\u0000\\u0001\\u001f\\u007f\u{80}\u{ff}\"",
        ),
        ("return cjson.encode({a=1,b=2,c=3,d={1,2,{x=1}}})", "{\"a\":1,\"d\":[1,2,{\"x\":1}],\"c\":3,\"b\":2}"),
        (
            r#"local t={} for i=1,20 do t["k"..i]=i end return cjson.encode(t)"#,
            "{\"k16\":16,\"k19\":19,\"k11\":11,\"k17\":17,\"k15\":15,\"k20\":20,\"k10\":10,\"k8\":8,\"k1\":1,\"k12\":12,\"k3\":3,\"k2\":2,\"k9\":9,\"k13\":13,\"k18\":18,\"k14\":14,\"k6\":6,\"k7\":7,\"k4\":4,\"k5\":5}",
        ),
        (
            "return cjson.encode(setmetatable({1,2},{__len=function() return 9 end,__index=function() return 1 end}))",
            "[1,2]",
        ),
    ]);
}

#[test]
fn arrays_are_tables_of_positive_integers() {
    check(&[
        ("return cjson.encode({1,2,nil,4})", "[1,2,null,4]"),
        ("return cjson.encode({[1]=1,[10]=3})", "[1,null,null,null,null,null,null,null,null,3]"),
        (
            "return cjson.encode({[1]=1,[11]=3})",
            "error: user_script:1: Cannot serialise table: excessively sparse array",
        ),
        ("return cjson.encode({1,2,3,a=1})", "{\"1\":1,\"2\":2,\"3\":3,\"a\":1}"),
        ("return cjson.encode({[1.5]=1,[2]=3})", "{\"1.5\":1,\"2\":3}"),
        ("return cjson.encode({[0]=1}) .. cjson.encode({[-1]=1})", "{\"0\":1}{\"-1\":1}"),
        ("return cjson.encode({[2^31]=1})", "{\"2147483648\":1}"),
        ("return cjson.encode({[2^53]=1,[1]=1})", "[1]"),
        ("cjson.encode_sparse_array(true) return cjson.encode({[1000]=1})", "{\"1000\":1}"),
        ("cjson.encode_sparse_array(false,0) return #cjson.encode({[1000]=1})", "4998"),
        ("cjson.encode_sparse_array(false,1,3) return cjson.encode({[3]=1})", "[null,null,1]"),
        (
            "cjson.encode_sparse_array(false,1,3) return cjson.encode({[4]=1})",
            "error: user_script:1: Cannot serialise table: excessively sparse array",
        ),
        (
            "cjson.encode_sparse_array(false,2147483647,10) return cjson.encode({[20]=1,[1]=1})",
            "error: user_script:1: Cannot serialise table: excessively sparse array",
        ),
    ]);
}

#[test]
fn what_json_cannot_hold_is_refused() {
    check(&[
        ("return cjson.encode(function() end)", "error: user_script:1: Cannot serialise function: type not supported"),
        (
            "return cjson.encode({a=coroutine.create(function() end)})",
            "error: user_script:1: Cannot serialise thread: type not supported",
        ),
        (
            "return cjson.encode({[true]=1})",
            "error: user_script:1: Cannot serialise boolean: table key must be a number or string",
        ),
        (
            "return cjson.encode({[true]=1,[1]=function() end})",
            "error: user_script:1: Cannot serialise function: type not supported",
        ),
        ("return cjson.encode({0/0})", "error: user_script:1: Cannot serialise number: must not be NaN or Inf"),
        ("return cjson.encode({[1/0]=1})", "error: user_script:1: Cannot serialise number: must not be NaN or Inf"),
        (
            "cjson.encode_invalid_numbers(true) return cjson.encode({1/0,0/0,-1/0,{[1/0]=1}})",
            "[inf,nan,-inf,{\"inf\":1}]",
        ),
        (
            r#"cjson.encode_invalid_numbers("null") return cjson.encode({1/0,0/0,{[1/0]=1}})"#,
            "[null,null,{\"null\":1}]",
        ),
        (
            "local t={} t[1]=t return cjson.encode(t)",
            "error: user_script:1: Cannot serialise, excessive nesting (1001)",
        ),
        ("cjson.encode_max_depth(2) return cjson.encode({{}})", "[{}]"),
        (
            "cjson.encode_max_depth(2) return cjson.encode({{{}}})",
            "error: user_script:1: Cannot serialise, excessive nesting (3)",
        ),
    ]);
}

#[test]
fn values_are_read() {
    check(&[
        (
            r#"local t=cjson.decode('{"1":1,"a":null,"b":[null,1.5,{"c":[]}],"a":true}') return {t["1"], t[1], t.a, t.b[1], t.b[2], #t.b[3].c}"#,
            "1|nil|true|userdata: (nil)|1.5|0",
        ),
        (r#"return {cjson.decode(' \t\r\n[ 1 , 2 ] \n')[2], cjson.decode(1), cjson.decode("11\0garbage")}"#, "2|1|11"),
        (
            r#"return cjson.decode("\"\\u0041\\u00e9\\u20ac\\ud83d\\ude00\\u0000\"")"#,
            "A\u{c3}\u{a9}\u{e2}\u{82}\u{ac}\u{f0}\u{9f}\u{98}\u{80}\x00",
        ),
        (
            r#"return cjson.decode("\"\\b\\f\\n\\r\\t\\/\\\\\\\"\1\127\255\n\"")"#,
            "\x08\x0c\n\x0d\x09/\\\"\x01\x7f\u{ff}\n",
        ),
        (r#"local n=1000 return #cjson.encode(cjson.decode(string.rep("[",n)..string.rep("]",n)))"#, "2000"),
        (
            r#"cjson.decode_max_depth(100000) return type(cjson.decode(string.rep("[",7998)..string.rep("]",7998)))"#,
            "table",
        ),
        (
            r#"cjson.decode_max_depth(100000) return type(cjson.decode(string.rep("[",7999)..string.rep("]",7999)))"#,
            "error: user_script:1: Found too many nested data structures (7999) at character 7999",
        ),
        (
            r#"cjson.decode_max_depth(100000) return cjson.decode(string.rep('[{"a":',2667).."1"..string.rep("}]",2667))"#,
            "error: user_script:1: Found too many nested data structures (5333) at character 15997",
        ),
        (
            r#"cjson.decode_max_depth(2) return cjson.decode('[{"a":[]}]')"#,
            "error: user_script:1: Found too many nested data structures (3) at character 7",
        ),
        (
            r#"return cjson.decode(string.rep("[",1001))"#,
            "error: user_script:1: Found too many nested data structures (1001) at character 1001",
        ),
    ]);
}

#[test]
fn numbers_are_read_as_by_strtod() {
    check(&[
        (
            r#"local o={} for i,s in ipairs{"-1.5e3","1.","-.5","+1","01","-0","0x10","-0X1p4","0x.8","inf","-Infinity","nan","-nan","nan(1)","1e400","1e-400"} do o[i]=cjson.decode(s) end return o"#,
            "-1500|1|-0.5|1|1|-0|16|-16|0.5|inf|-inf|nan|-nan|nan|inf|0",
        ),
        (
            r#"cjson.decode_invalid_numbers(false) local o={} for i,s in ipairs{"0","-0","1e400","0.5","1."} do o[i]=cjson.decode(s) end return o"#,
            "0|-0|inf|0.5|1",
        ),
        (
            r#"cjson.decode_invalid_numbers(false) return cjson.decode("01")"#,
            "error: user_script:1: Expected value but found invalid number at character 1",
        ),
        (
            r#"cjson.decode_invalid_numbers(false) return cjson.decode("-inf")"#,
            "error: user_script:1: Expected value but found invalid number at character 1",
        ),
        (
            r#"cjson.decode_invalid_numbers(false) return cjson.decode("inf")"#,
            "error: user_script:1: Expected value but found invalid token at character 1",
        ),
        (
            r#"cjson.decode_invalid_numbers(false) return cjson.decode("+1")"#,
            "error: user_script:1: Expected value but found invalid token at character 1",
        ),
        (r#"return cjson.decode(".5")"#, "error: user_script:1: Expected value but found invalid token at character 1"),
        (
            r#"return cjson.decode("- 1")"#,
            "error: user_script:1: Expected value but found invalid number at character 1",
        ),
        (
            r#"return cjson.decode("+x")"#,
            "error: user_script:1: Expected value but found invalid number at character 1",
        ),
        (
            r#"return cjson.decode("1e")"#,
            "error: user_script:1: Expected the end but found invalid token at character 2",
        ),
        (
            r#"return cjson.decode("0x")"#,
            "error: user_script:1: Expected the end but found invalid token at character 2",
        ),
    ]);
}

#[test]
fn wrong_texts_are_told_with_their_place() {
    check(&[
        (r#"return cjson.decode("")"#, "error: user_script:1: Expected value but found T_END at character 1"),
        (
            r#"return cjson.decode("nul")"#,
            "error: user_script:1: Expected value but found invalid token at character 1",
        ),
        (r#"return cjson.decode("[1,")"#, "error: user_script:1: Expected value but found T_END at character 4"),
        (
            r#"return cjson.decode("[1 2]")"#,
            "error: user_script:1: Expected comma or array end but found T_NUMBER at character 4",
        ),
        (r#"return cjson.decode("[,]")"#, "error: user_script:1: Expected value but found T_COMMA at character 2"),
        (
            r#"return cjson.decode("{1:2}")"#,
            "error: user_script:1: Expected object key string but found T_NUMBER at character 2",
        ),
        (
            r#"return cjson.decode("{\"a\"}")"#,
            "error: user_script:1: Expected colon but found T_OBJ_END at character 5",
        ),
        (
            r#"return cjson.decode("{\"a\":}")"#,
            "error: user_script:1: Expected value but found T_OBJ_END at character 6",
        ),
        (
            r#"return cjson.decode("{\"a\":1,}")"#,
            "error: user_script:1: Expected object key string but found T_OBJ_END at character 8",
        ),
        (
            r#"return cjson.decode("{\"a\":1 \"b\":2}")"#,
            "error: user_script:1: Expected comma or object end but found T_STRING at character 8",
        ),
        (
            r#"return cjson.decode("{\"a\",1}")"#,
            "error: user_script:1: Expected colon but found T_COMMA at character 5",
        ),
        (
            r#"return cjson.decode("{true:1}")"#,
            "error: user_script:1: Expected object key string but found T_BOOLEAN at character 2",
        ),
        (r#"return cjson.decode("1 null")"#, "error: user_script:1: Expected the end but found T_NULL at character 3"),
        (
            r#"return cjson.decode("1 [")"#,
            "error: user_script:1: Expected the end but found T_ARR_BEGIN at character 3",
        ),
        (r#"return cjson.decode("1\0")"#, "error: user_script:1: JSON parser does not support UTF-16 or UTF-32"),
        (
            r#"return cjson.decode("[1\0]")"#,
            "error: user_script:1: Expected comma or array end but found T_END at character 3",
        ),
        (
            r#"return cjson.decode("\"abc")"#,
            "error: user_script:1: Expected value but found unexpected end of string at character 5",
        ),
        (
            r#"return cjson.decode("\"a\0c\"")"#,
            "error: user_script:1: Expected value but found unexpected end of string at character 3",
        ),
        (
            r#"return cjson.decode("\"ab\\x\"")"#,
            "error: user_script:1: Expected value but found invalid escape code at character 4",
        ),
        (
            r#"return cjson.decode("\"\\u12G4\"")"#,
            "error: user_script:1: Expected value but found invalid unicode escape code at character 2",
        ),
        (
            r#"return cjson.decode("\"\\ud83d\"")"#,
            "error: user_script:1: Expected value but found invalid unicode escape code at character 2",
        ),
        (
            r#"return cjson.decode("\"\\ud83d\\ud83d\"")"#,
            "error: user_script:1: Expected value but found invalid unicode escape code at character 2",
        ),
        (
            r#"return cjson.decode("\"\\ude00\"")"#,
            "error: user_script:1: Expected value but found invalid unicode escape code at character 2",
        ),
        (
            r#"return cjson.decode('{"a\\q":1}')"#,
            "error: user_script:1: Expected object key string but found invalid escape code at character 4",
        ),
        (
            r#"return cjson.decode("\239\187\1911")"#,
            "error: user_script:1: Expected value but found invalid token at character 1",
        ),
        (
            r#"local function f()  return cjson.decode("x") end return f()"#,
            "error: user_script:1: Expected value but found invalid token at character 1",
        ),
        (r#"local ok, e = pcall(cjson.decode, "x") return e"#, "Expected value but found invalid token at character 1"),
    ]);
}

#[test]
fn options_keep_their_values_and_check_them() {
    check(&[
        (
            "local a,b,c=cjson.encode_sparse_array() return {tostring(a),b,c,cjson.encode_max_depth(),cjson.decode_max_depth(),cjson.encode_number_precision()}",
            "false|2|10|1000|1000|14",
        ),
        (
            r#"return {tostring(cjson.encode_keep_buffer(false)), tostring(cjson.encode_keep_buffer()), tostring(cjson.decode_invalid_numbers("off")), tostring(cjson.encode_invalid_numbers("null"))}"#,
            "false|false|false|null",
        ),
        (
            "cjson.encode_number_precision(3) return cjson.encode({1/3,100,12345,0.00001234,1e20,[100.5]=1})",
            "{\"1\":0.333,\"2\":100,\"3\":1.23e+04,\"4\":1.23e-05,\"5\":1e+20,\"100\":1}",
        ),
        (
            r#"return {cjson.encode_max_depth("7"), cjson.encode_max_depth(1.9), cjson.encode_max_depth(4294967297)}"#,
            "7|1|1",
        ),
        (
            "return cjson.encode_max_depth(0)",
            "error: user_script:1: bad argument #1 to 'encode_max_depth' (expected integer between 1 and 2147483647)",
        ),
        (
            "return cjson.encode_max_depth(2147483648)",
            "error: user_script:1: bad argument #1 to 'encode_max_depth' (expected integer between 1 and 2147483647)",
        ),
        (
            "return cjson.encode_number_precision(15)",
            "error: user_script:1: bad argument #1 to 'encode_number_precision' (expected integer between 1 and 14)",
        ),
        (
            "return cjson.encode_number_precision({})",
            "error: user_script:1: bad argument #1 to 'encode_number_precision' (number expected, got table)",
        ),
        (
            "return cjson.encode_number_precision(14,15)",
            "error: user_script:1: bad argument #2 to 'encode_number_precision' (found too many arguments)",
        ),
        (
            "return cjson.encode_sparse_array(false,2,-1)",
            "error: user_script:1: bad argument #1 to 'encode_sparse_array' (expected integer between 0 and 2147483647)",
        ),
        (
            "return cjson.encode_sparse_array(false,2,10,5)",
            "error: user_script:1: bad argument #4 to 'encode_sparse_array' (found too many arguments)",
        ),
        (
            "return cjson.encode_sparse_array(1)",
            "error: user_script:1: bad argument #1 to 'encode_sparse_array' (invalid option '1')",
        ),
        (
            "return cjson.encode_invalid_numbers({})",
            "error: user_script:1: bad argument #1 to 'encode_invalid_numbers' (string expected, got table)",
        ),
        (
            r#"return cjson.decode_invalid_numbers("null")"#,
            "error: user_script:1: bad argument #1 to 'decode_invalid_numbers' (invalid option 'null')",
        ),
        ("return cjson.encode()", "error: user_script:1: bad argument #1 to 'encode' (expected 1 argument)"),
        ("return cjson.encode(1,2)", "error: user_script:1: bad argument #1 to 'encode' (expected 1 argument)"),
        ("return cjson.decode({})", "error: user_script:1: bad argument #1 to 'decode' (string expected, got table)"),
        ("local f=cjson.encode return f()", "error: user_script:1: bad argument #1 to 'f' (expected 1 argument)"),
        ("return cjson:encode(1)", "error: user_script:1: calling 'encode' on bad self (expected 1 argument)"),
        (
            "local c=cjson.new() return {c.encode({1}), tostring(c.null==cjson.null), c.encode_max_depth(5), cjson.encode_max_depth(), c.encode_max_depth()}",
            "[1]|true|5|1000|5",
        ),
        ("return {cjson._NAME, cjson._VERSION, tostring(cjson.null)}", "cjson|2.1.0|userdata: (nil)"),
    ]);
}

const STACK: usize = 1 << 20;

#[test]
fn tables_within_tables_have_an_end_whatever_the_option_says() {
    let nested = |count: usize, key: &str| {
        run(&format!(
            "cjson.encode_max_depth(1000000) local t = {{}} local r = t for i = 2, {count} do t[{key}] = {{}} t = t[{key}] end
            return #cjson.encode(r)"
        ))
    };
    // Threads of the server have 2 MiB.
    let small = std::thread::Builder::new().stack_size(STACK).spawn(move || {
        assert_eq!(nested(1_500, "1"), "3000");
        assert_eq!(nested(1_500, "'a'"), (1_499 * 6 + 2).to_string());
        assert_eq!(nested(1_501, "'a'"), "error: user_script:2: Cannot serialise, excessive nesting (1501)");
    });
    small.unwrap().join().unwrap();
}

#[test]
fn a_sparse_array_cannot_ask_for_all_memory() {
    let script = "cjson.encode_sparse_array(false, 0) return cjson.encode({ [2147483647] = 1 })";
    assert_eq!(run(script), "error: not enough memory");
}
