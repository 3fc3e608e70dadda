//! Rules, requests and files beside each other.

use super::file::UserFile;
use super::*;
use crate::commands::table;
use crate::resp::Arguments;

fn defined(rules: &str) -> Definition {
    let mut definition = Definition::new(ChannelDefault::None);
    let words = rules.split(' ').map(str::as_bytes).filter(|word| !word.is_empty());
    for rule in join_selectors(words).expect("closed") {
        definition.apply(&rule, ChannelDefault::None).unwrap_or_else(|error| panic!("{rules}: {error}"));
    }
    definition
}

fn described(rules: &str) -> String {
    String::from_utf8(defined(rules).describe()).expect("text")
}

fn commands(rules: &str) -> String {
    String::from_utf8(defined(rules).selectors()[0].describe_commands()).expect("text")
}

fn refused(rule: &str) -> Option<RuleError> {
    let mut definition = defined("");
    let before = definition.clone();
    let error = definition.apply(rule.as_bytes(), ChannelDefault::None).err();
    assert!(error.is_none() || definition == before, "{rule}");
    error
}

fn check(definition: &Definition, request: &str) -> Result<(), String> {
    let (mut input, mut ranges) = (Vec::new(), Vec::new());
    for word in request.split(' ') {
        let start = input.len() as u32;
        input.extend_from_slice(word.as_bytes());
        ranges.push(start..input.len() as u32);
    }
    let arguments = Arguments::new(&input, &ranges);
    let entry = table().find(&arguments[0]).expect("a command");
    let entry = arguments.get(1).and_then(|inner| entry.subcommand(inner)).unwrap_or(entry);
    assert!(entry.command.accepts(arguments.len()), "{request}");
    definition
        .check(entry, &arguments)
        .map_err(|denial| String::from_utf8(denial.detailed_message(b"u")).expect("text"))
}

#[test]
fn users_are_printed_in_one_form() {
    let hash = "d74ff0ee8da3b9806b18c877dbf29bbde50b5bd8e4dad7a3a725000feb82e8f1";
    let cases = [
        ("", "off sanitize-payload resetchannels -@all"),
        ("ON nopass AllKeys ALLCHANNELS allcommands", "on nopass sanitize-payload ~* &* +@all"),
        ("on >pass nopass", "on nopass sanitize-payload resetchannels -@all"),
        ("nopass >pass >pass", &format!("off sanitize-payload #{hash} resetchannels -@all")),
        ("skip-sanitize-payload >pass <pass", "off skip-sanitize-payload resetchannels -@all"),
        ("~a ~a %R~b %W~b %R~c %w~d", "off sanitize-payload ~a ~b %R~c %W~d resetchannels -@all"),
        ("~a ~* &x &x &y", "off sanitize-payload ~* resetchannels &x &y -@all"),
        ("%RW~* ~x", "off sanitize-payload %RW~* ~x resetchannels -@all"),
        (
            "(~b +get) +set ( %R~c \t &x )",
            "off sanitize-payload resetchannels -@all +set (~b resetchannels -@all +get) (%R~c resetchannels &x -@all)",
        ),
        ("on ~a &a +get (+set) >x reset", "off sanitize-payload resetchannels -@all"),
        ("(+set) (+get) clearselectors", "off sanitize-payload resetchannels -@all"),
        ("(\"+get\" ~a'b')", "off sanitize-payload resetchannels -@all (~ab resetchannels -@all +get)"),
    ];
    for (rules, expected) in cases {
        assert_eq!(described(rules), expected, "{rules}");
        // What is printed can be read again.
        let inner = described(rules);
        assert_eq!(described(&inner), inner, "{rules}");
    }
    // Read again, this is every key.
    assert_eq!(described("~x %R~* %W~*"), "off sanitize-payload ~x ~* resetchannels -@all");
    assert_eq!(
        String::from_utf8_lossy(&Definition::new(ChannelDefault::All).describe()),
        "off sanitize-payload &* -@all"
    );
    assert_eq!(String::from_utf8_lossy(&Definition::unlimited().describe()), "on nopass sanitize-payload ~* &* +@all");
    assert!(Definition::unlimited().is_unlimited() && defined("+@all ~* allchannels").is_unlimited());
    for limited in [
        "+@all ~*",
        "+@all allchannels",
        "+@all %RW~* allchannels",
        "~* &* +@all -get",
        "~* &* +@all -config|get",
        "~* &*",
    ] {
        assert!(!defined(limited).is_unlimited(), "{limited}");
    }
}

/// As Redis 7.2 documents it: rules are kept in their order, and a later one voids those about the same or a part of it.
#[test]
fn rules_about_commands_are_kept_in_their_order() {
    let cases = [
        ("+@all -@hash -@slow +hget", "+@all -@hash -@slow +hget"),
        ("+@all -@hash -@slow +hget -@hash", "+@all -@slow +hget -@hash"),
        ("+@all -@slow +hget -@hash +@hash", "+@all -@slow +hget +@hash"),
        ("-@all +@HASH +@hash +@HaSh", "-@all +@hash"),
        ("+HGET +hget +hGeT", "-@all +hget"),
        ("+@hash +@slow +@set +@set +@slow +@hash", "-@all +@set +@slow +@hash"),
        ("+hget -hset +hset -hget", "-@all +hset -hget"),
        ("+client|list +client|list +config|get +config +acl|list -acl", "-@all +client|list +config -acl"),
        ("+select|0 +select|0 +config|get +config", "-@all +select|0 +config"),
        ("+select|A +SELECT|a", "-@all +select|a"),
        ("-@dangerous", "-@all -@dangerous"),
        ("+config +config|get -config|set +config", "-@all +config"),
        ("+config +config|get -config|set", "-@all +config +config|get -config|set"),
        ("+get +@all", "+@all"),
        ("+@all -get NoCommands", "-@all"),
    ];
    for (rules, expected) in cases {
        assert_eq!(commands(rules), expected, "{rules}");
        assert_eq!(commands(expected), expected);
    }
}

#[test]
fn mistakes_are_named() {
    use RuleError::*;
    let cases = [
        ("foo", Syntax),
        ("%", Syntax),
        ("%~a", Syntax),
        ("%RR~a", Syntax),
        ("%X~a", Syntax),
        ("~a b", Syntax),
        ("&a\tb", Syntax),
        ("@all", Syntax),
        ("on ", Syntax),
        ("(on)", Syntax),
        ("((+get))", Syntax),
        ("+get|", Syntax),
        ("+config|", Syntax),
        ("+", UnknownCommand),
        ("+nosuch", UnknownCommand),
        ("-nosuch", UnknownCommand),
        ("+@nosuch", UnknownCommand),
        ("-@", UnknownCommand),
        ("+config|nosuch", UnknownCommand),
        ("-get|x", UnknownCommand),
        ("+get|a|b", UnknownCommand),
        ("+|", UnknownCommand),
        ("(+nosuch)", UnknownCommand),
        ("+config|get|x", FirstArgumentOfSubcommand),
        ("<x", NoSuchPassword),
        ("#abc", BadHash),
        ("!abc", BadHash),
        ("(~* ~a)", AfterAllKeys),
        ("(~* %X)", AfterAllKeys),
        ("(&* &a)", AfterAllChannels),
    ];
    for (rule, error) in cases {
        assert_eq!(refused(rule), Some(error), "{rule}");
    }
    for accepted in ["", "on\0x", "+get\0x", "~", "&", "%R", ">", "()", "(\"+nosuch)"] {
        assert_eq!(refused(accepted), None, "{accepted:?}");
    }
    assert_eq!(join_selectors([&b"(+get"[..], b"~x)", b"on", b"(a"]), Err(&b"(a"[..]));
    // One that begins takes the place of one that has not ended.
    assert_eq!(join_selectors([&b"(+get"[..], b"x", b"(+set"]), Err(&b"(+set"[..]));
    let joined = join_selectors([&b"(+get"[..], b"x", b"(+set", b"(+a)"]).expect("closed");
    assert_eq!(joined, [&b"(+set (+a)"[..]]);
    let joined = join_selectors([&b"(+get"[..], b"", b"~x)", b"on)"]).expect("closed");
    assert_eq!(joined.iter().map(|rule| &**rule).collect::<Vec<_>>(), [&b"(+get  ~x)"[..], b"on)"]);
}

#[test]
fn commands_by_name_category_and_first_argument() {
    let no = |command: &str| Err(format!("User u has no permissions to run the '{command}' command"));
    let cases: &[(&str, &str, Result<(), String>)] = &[
        ("~*", "get a", no("get")),
        ("~* +get", "get a", Ok(())),
        ("~* +get", "set a b", no("set")),
        ("~* +@read", "get a", Ok(())),
        ("~* +@all -@write", "set a b", no("set")),
        ("+config|get", "config get x", Ok(())),
        ("+config|get", "config set x y", no("config|set")),
        ("+config -config|set", "config set x y", no("config|set")),
        ("+@admin -config", "config get x", no("config|get")),
        ("+select|1", "select 1", Ok(())),
        ("+select|1", "select 2", no("select")),
        ("+select|1 -select", "select 1", no("select")),
        ("+select|1 +@connection -@fast", "select 1", no("select")),
        ("~* +get|A", "get a", Ok(())),
        ("", "auth x", Ok(())),
        ("", "hello", Ok(())),
        ("", "reset", Ok(())),
        ("", "ping", no("ping")),
        ("+@all", "multi", Ok(())),
    ];
    for (rules, request, expected) in cases {
        assert_eq!(check(&defined(rules), request), *expected, "{rules}: {request}");
    }
}

#[test]
fn keys_by_what_is_done_with_them() {
    let definition = defined("+@all ~rw* %R~ro* %W~wo* &*");
    let allowed = [
        "get ro",
        "get rw",
        "set wo v",
        "set rw v get",
        "copy ro wo",
        "append wo x",
        "lpush wo x",
        "del wo",
        "exists wo",
        "exists ro",
        "strlen wo",
        "type wo",
        "watch wo",
        "bitfield ro get u8 0",
        "bitfield ro overflow wrap get u8 0",
        "zunionstore wo 2 ro rw",
        "zunionstore wo x ro",
        "sort ro store wo",
        "sort ro by x* get #",
        "rename rw wo",
        "xread streams ro rw 0 0",
        "object encoding wo",
        "mset wo 1 rw 2",
        "set wo get",
        "get ro2",
        "subscribe x",
        "georadius ro 1 2 3 m store wo",
        "lmpop 9 x left",
        "memory usage wo",
    ];
    for request in allowed {
        assert_eq!(check(&definition, request), Ok(()), "{request}");
    }
    let refused = [
        ("get wo", "wo"),
        ("get x", "x"),
        ("mget ro wo", "wo"),
        ("set ro v", "ro"),
        ("set wo v get", "wo"),
        ("set wo v ex 10 GET", "wo"),
        ("copy wo ro", "wo"),
        ("copy ro ro", "ro"),
        ("incr wo", "wo"),
        ("lpop wo", "wo"),
        ("rename wo wo", "wo"),
        ("exists x", "x"),
        ("bitfield ro set u8 0 1", "ro"),
        ("bitfield wo get u8 0", "wo"),
        ("bitfield ro get u8 0 incrby u8 0 1", "ro"),
        ("zunionstore ro 1 rw", "ro"),
        ("zunionstore wo 2 ro wo", "wo"),
        ("sort ro store ro", "ro"),
        ("sort ro limit 0 1 store x", "x"),
        ("xread streams x 0", "x"),
        ("mset wo 1 ro 2", "ro"),
        ("georadius ro 1 2 3 m storedist ro", "ro"),
    ];
    for (request, key) in refused {
        let expected = format!("User u has no permissions to access the '{key}' key");
        assert_eq!(check(&definition, request), Err(expected), "{request}");
    }
    // The empty key is matched by the empty pattern alone.
    let of_nothing = |rules: &str| check(&defined(rules), "get ");
    assert!(of_nothing("+@all ~*").is_ok() && of_nothing("+@all ~").is_ok() && of_nothing("+@all %RW~*").is_err());
    // One pattern has to allow both.
    assert!(check(&defined("+@all %R~a* %W~*b"), "incr ab").is_err());
    assert!(check(&defined("+@all %R~a %W~a"), "incr a").is_ok());
}

#[test]
fn channels_and_patterns_of_channels() {
    let definition = defined("+@all ~* &news* &b");
    for request in [
        "publish news1 x",
        "subscribe b news",
        "psubscribe news* b",
        "ssubscribe newsy",
        "spublish b x",
        "unsubscribe x",
    ] {
        assert_eq!(check(&definition, request), Ok(()), "{request}");
    }
    for (request, channel) in [
        ("publish x y", "x"),
        ("subscribe news c", "c"),
        ("psubscribe news", "news"),
        ("psubscribe news1*", "news1*"),
        ("ssubscribe x", "x"),
        ("spublish x y", "x"),
    ] {
        let expected = format!("User u has no permissions to access the '{channel}' channel");
        assert_eq!(check(&definition, request), Err(expected), "{request}");
    }
    assert!(definition.keeps_channels(&defined("&b &news* &c")) && definition.keeps_channels(&defined("&*")));
    assert!(definition.keeps_channels(&defined("&b (&news*)")));
    assert!(!definition.keeps_channels(&defined("&b")) && !defined("&*").keeps_channels(&definition));
}

#[test]
fn one_selector_that_allows_it_is_enough() {
    let definition = defined("+get ~a (+set ~b) (+get +publish ~c* &x)");
    for allowed in ["get a", "set b 1", "get c1", "publish x 1"] {
        assert_eq!(check(&definition, allowed), Ok(()), "{allowed}");
    }
    // What came farthest tells why.
    for (refused, reason) in [
        ("set a 1", "access the 'a' key"),
        ("get b", "access the 'b' key"),
        ("publish y 1", "access the 'y' channel"),
        ("del a", "run the 'del' command"),
    ] {
        assert_eq!(check(&definition, refused), Err(format!("User u has no permissions to {reason}")), "{refused}");
    }
}

#[test]
fn only_who_may_read_every_key_may_let_data_name_keys() {
    let may = |rules: &str| {
        let words = [b"sort".as_slice(), b"k"];
        let input = words.concat();
        let ranges = [0..4, 4..5];
        let entry = table().find(b"sort").expect("there");
        defined(rules).may_read_all_keys(entry, &Arguments::new(&input, &ranges))
    };
    assert!(may("+sort ~*") && may("+sort %R~*") && may("(+sort %RW~*)"));
    assert!(!may("+sort ~k") && !may("+sort ~k (+get ~*)") && !may("+sort ~k (+sort %W~*)") && !may("~*"));
}

#[test]
fn a_log_in_needs_an_enabled_user_and_its_password() {
    let users = Users::new(Some(b"secret"), None);
    assert!(users.login_required());
    assert!(users.log_in(DEFAULT_USER, b"secret").is_some());
    assert!(users.log_in(DEFAULT_USER, b"Secret").is_none() && users.log_in(b"nobody", b"secret").is_none());
    users.set_default_password(b"");
    assert!(!users.login_required() && users.log_in(DEFAULT_USER, b"x").is_some());
    users.change(b"u", [&b">one"[..], b">two"]).expect("right");
    assert!(users.log_in(b"u", b"one").is_none());
    users.change(b"u", [&b"on"[..]]).expect("right");
    assert!(users.log_in(b"u", b"one").is_some() && users.log_in(b"u", b"two").is_some());
    users.change(DEFAULT_USER, [&b"off"[..]]).expect("right");
    assert!(users.login_required() && users.log_in(DEFAULT_USER, b"x").is_none());
}

#[test]
fn rules_apply_all_or_none() {
    let users = Users::new(None, None);
    let before = users.default_user().version();
    assert_eq!(
        users.change(DEFAULT_USER, [&b"-get"[..], b"foo"]).expect_err("no rule"),
        (&b"foo"[..], RuleError::Syntax)
    );
    assert!(users.default_user().is_unlimited() && users.default_user().version() == before);
    assert!(users.change(b"new", [&b"foo"[..]]).is_err() && users.find(b"new").is_none());
    users.change(DEFAULT_USER, [&b"-get"[..]]).expect("right");
    assert!(!users.default_user().is_unlimited() && users.default_user().version() != before);
    users.change(DEFAULT_USER, [&b"+get"[..]]).expect("right");
    assert!(users.default_user().is_unlimited(), "all commands again");
    assert!(users.remove(DEFAULT_USER).is_none());
    let Changed { user, .. } = users.change(b"u", [&b"on"[..], b"allkeys", b"allchannels", b"+@all"]).expect("right");
    assert!(user.is_unlimited());
    assert!(users.remove(b"u").is_some() && user.is_removed() && !user.is_unlimited());
}

/// A file in a folder of its own, which goes with it.
struct Place(std::path::PathBuf);

impl Place {
    fn new(name: &str) -> Place {
        let folder = std::env::temp_dir().join(format!("swytch-acl-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        Place(folder)
    }

    fn write(&self, text: &str) -> std::path::PathBuf {
        let path = self.0.join("users.acl");
        std::fs::write(&path, text).expect("written");
        path
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn files_load_or_name_their_mistakes() {
    let place = Place::new("verdicts");
    let read = |text: &str| UserFile::read(&place.write(text), ChannelDefault::None);
    let loads = [
        ("", 0),
        ("\n\n  \r\n", 0),
        ("user a", 1),
        ("user a on nopass\r\nuser b off\r\n", 2),
        (" \tuser a on  nopass \n", 1),
        ("user a on (+get ~a ) ( ~b)\n", 1),
        ("user \"\" on\n", 1),
        ("user a +select|0 >a\\x20b\nuser default off\n", 2),
    ];
    for (text, count) in loads {
        let users = read(text).unwrap_or_else(|error| panic!("{text:?}: {}", error.for_client())).users;
        assert_eq!(users.len(), count, "{text:?}");
    }
    let should = "F:1 should start with user keyword followed by the username. ";
    let fails = [
        ("# comment\n", should),
        ("USER a on\n", should),
        ("user\ta\ton\n", should),
        ("user\n", should),
        ("user \n", should),
        ("user a foo\n", "F:1: Syntax error. "),
        ("user a on\tnopass\n", "F:1: Syntax error. "),
        ("user  a on\n", "F:1: Syntax error. "),
        ("user a\tb on\n", "'F:1: username 'a\tb' contains invalid characters. "),
        ("user a +@x\n", "F:1: Error in applying operation '+@x': Unknown command or category name in ACL. "),
        ("user a (+get\n", "F:1: Unmatched parenthesis in selector definition. "),
        ("\n\nuser a on\nuser a off\n", "WARNING: Duplicate user 'a' found on line 4. "),
        (
            "user a on # c\n",
            "F:1: The password hash must be exactly 64 characters and contain only lowercase hexadecimal characters. ",
        ),
        (
            "user a <x\nuser b +nosuch #x\n",
            "F:1: The password you are trying to remove from the user does not exist. F:2: Error in applying operation \
             '+nosuch': Unknown command or category name in ACL. F:2: The password hash must be exactly 64 characters and \
             contain only lowercase hexadecimal characters. ",
        ),
    ];
    for (text, expected) in fails {
        let error = read(text).expect_err(text);
        let path = place.0.join("users.acl").display().to_string();
        let (client, operator) = (error.for_client().replace(&path, "F"), error.for_operator());
        let end = "WARNING: ACL errors detected, no change to the previously active ACL rules was performed";
        assert_eq!(client, format!("{expected}{end}"), "{text:?}");
        assert!(operator.starts_with(&format!("{path}, line ")) && !operator.contains('\n'), "{operator}");
    }
    assert!(
        read("user a <secret\n")
            .expect_err("no such password")
            .for_operator()
            .ends_with("line 1: rule '<': The password you are trying to remove from the user does not exist")
    );
    let missing =
        UserFile::read(std::path::Path::new("/nosuch/users.acl"), ChannelDefault::None).expect_err("not there");
    assert_eq!(missing.for_client(), "Error loading ACLs, opening file '/nosuch/users.acl': No such file or directory");
    assert_eq!(missing.for_operator(), "cannot read /nosuch/users.acl: No such file or directory");
}

#[test]
fn a_file_is_saved_and_loaded_again() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new("saved");
    let path = place.write("user b on >p ~x\nuser a off\n");
    let file = UserFile::read(&path, ChannelDefault::None).expect("right");
    let users = Users::new(Some(b"ignored"), Some(file));
    assert!(!users.login_required(), "beside a file, the password counts for nothing");
    users.change(b"c", [&b"on"[..], b"(+get ~y)"]).expect("right");
    users.change(DEFAULT_USER, [&b">d"[..]]).expect("right");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).expect("allowed");
    users.save().expect("written");
    assert_eq!(std::fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o640);
    let saved = std::fs::read_to_string(&path).expect("there");
    let lines: Vec<&str> = saved.lines().map(|line| line.split('#').next().unwrap_or_default()).collect();
    assert_eq!(
        lines,
        [
            "user a off sanitize-payload resetchannels -@all",
            "user b on sanitize-payload ",
            "user c on sanitize-payload resetchannels -@all (~y resetchannels -@all +get)",
            "user default on sanitize-payload ",
        ]
    );
    let before = users.all();
    let gone = users.load().expect("a file").unwrap_or_else(|error| panic!("{}", error.for_client()));
    assert_eq!(gone.len(), 3, "everyone but `default` is new");
    assert!(before.iter().filter(|user| user.is_removed()).count() == 3 && !users.default_user().is_removed());
    users.save().expect("written");
    assert_eq!(std::fs::read_to_string(&path).expect("there"), saved);
    assert!(users.login_required() && users.log_in(b"b", b"p").is_some());
    place.write("user a foo\n");
    assert!(users.load().expect("a file").is_err());
    assert!(users.find(b"c").is_some(), "nothing changed");
    place.write("user a on\n");
    assert_eq!(users.load().expect("a file").map(|gone| gone.len()).ok(), Some(3));
    assert!(!users.login_required(), "`default` is what it is by default");
    assert_eq!(std::fs::read_dir(&place.0).expect("there").count(), 1, "nothing is left over");
    assert!(matches!(Users::new(None, None).save(), Err(SaveError::NoFile)));
}
