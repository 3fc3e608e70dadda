//! Positions on the earth: members of sorted sets whose scores are geohashes.

use super::Flow;
use super::context::{Context, Outcome, Refusal, SYNTAX, is_option};
use super::floats::parse_float;
use super::geohash::{Position, Shape};
use super::sorted_set_ranges::store;
use super::sorted_sets::{AddOptions, Scored, add_members, float, read_sorted_set};
use super::spec::{Access, Categories, Command, Coordination, Find, Flags, Group, Handler, KeySpec};
use crate::effects::Score;
use crate::keyspace::SortedSetValue;
use crate::resp::Reply;

const READ: &[KeySpec] = &[KeySpec::one(1, Access::READ.with(Access::ACCESS))];
const UPDATE: &[KeySpec] = &[KeySpec::one(1, Access::READ_WRITE.with(Access::UPDATE))];
const OVERWRITE: Access = Access::OVERWRITE.with(Access::UPDATE);
const STORE: &[KeySpec] = &[KeySpec::one(1, OVERWRITE), KeySpec::one(2, Access::READ.with(Access::ACCESS))];
const MAY_STORE: &[KeySpec] =
    &[KeySpec::one(1, Access::READ.with(Access::ACCESS)), stored(6, "STORE"), stored(6, "STOREDIST")];
const MAY_STORE_AROUND: &[KeySpec] =
    &[KeySpec::one(1, Access::READ.with(Access::ACCESS)), stored(5, "STORE"), stored(5, "STOREDIST")];

const PER_MEMBER: &str = "O(log(N)) for each member in the request, with N in the sorted set";
const SEARCH: &str = "O(N+log(M)) with N members in the cells around the area and M within it";

const fn stored(begin: usize, word: &'static str) -> KeySpec {
    KeySpec { access: OVERWRITE, begin, find: Find::Word(word), note: "" }
}

const fn read(name: &'static str, arity: isize, handler: Handler) -> Command {
    Command::new(Group::Geo, name, arity, handler).flags(Flags::READONLY).categories(Categories::GEO).keys(READ)
}

const fn write(name: &'static str, arity: isize, handler: Handler) -> Command {
    Command::new(Group::Geo, name, arity, handler)
        .flags(Flags::WRITE.with(Flags::DENYOOM))
        .categories(Categories::GEO)
        .coordination(Coordination::Commutes)
}

/// The rows of this family.
pub const COMMANDS: &[Command] = &[
    write("geoadd", -5, geoadd).keys(UPDATE).docs("3.2.0", PER_MEMBER, "Adds members with their positions"),
    read("geodist", -4, geodist).docs("3.2.0", "O(log(N))", "Returns the distance between two members"),
    read("geohash", -2, geohash).docs("3.2.0", PER_MEMBER, "Returns positions as geohash texts"),
    read("geopos", -2, geopos).docs("3.2.0", "O(N) with N members in the request", "Returns positions"),
    read("geosearch", -7, geosearch).docs("6.2.0", SEARCH, "Returns the members within an area"),
    write("geosearchstore", -8, geosearchstore).keys(STORE).docs("6.2.0", SEARCH, "Stores the members within an area"),
    write("georadius", -6, georadius)
        .flags(Flags::MOVABLEKEYS)
        .keys(MAY_STORE)
        .deprecated("6.2.0", "`GEOSEARCH` and `GEOSEARCHSTORE` with the `BYRADIUS` argument")
        .docs("3.2.0", SEARCH, "Returns or stores the members within a distance from a point"),
    read("georadius_ro", -6, georadius_ro).deprecated("6.2.0", "`GEOSEARCH` with the `BYRADIUS` argument").docs(
        "3.2.10",
        SEARCH,
        "Returns the members within a distance from a point",
    ),
    write("georadiusbymember", -5, georadiusbymember)
        .flags(Flags::MOVABLEKEYS)
        .keys(MAY_STORE_AROUND)
        .deprecated("6.2.0", "`GEOSEARCH` and `GEOSEARCHSTORE` with the `BYRADIUS` and `FROMMEMBER` arguments")
        .docs("3.2.0", SEARCH, "Returns or stores the members within a distance from a member"),
    read("georadiusbymember_ro", -5, georadiusbymember_ro)
        .deprecated("6.2.0", "`GEOSEARCH` with the `BYRADIUS` and `FROMMEMBER` arguments")
        .docs("3.2.10", SEARCH, "Returns the members within a distance from a member"),
];

/// A longitude and a latitude among the arguments.
fn position(context: &Context<'_>, at: usize) -> Result<Position, Refusal> {
    let position = Position { longitude: float(context, at)?, latitude: float(context, at + 1)? };
    if !position.is_valid() {
        let Position { longitude, latitude } = position;
        return Err(Refusal::built(format!("ERR invalid longitude,latitude pair {longitude:.6},{latitude:.6}")));
    }
    Ok(position)
}

/// How many metres the unit at an argument has.
fn unit(context: &Context<'_>, at: usize) -> Result<f64, Refusal> {
    match context.word(at) {
        word if is_option(word, "m") => Ok(1.0),
        word if is_option(word, "km") => Ok(1000.0),
        word if is_option(word, "ft") => Ok(0.3048),
        word if is_option(word, "mi") => Ok(1609.34),
        _ => Err(Refusal::Fixed("ERR unsupported unit provided. please use M, KM, FT, MI")),
    }
}

fn position_of(set: &SortedSetValue, member: &[u8]) -> Option<Position> {
    Some(Position::decode(bits_of(set.score(member)?)))
}

/// The bits of a geohash that is a score. A score may be any float: those that are no geohash are converted as the
/// processors on which Redis mostly runs do it, where a negative one wraps around and one beyond 64 bits is 0.
fn bits_of(score: f64) -> u64 {
    const TWO_TO_64: f64 = 18_446_744_073_709_551_616.0;
    match score {
        _ if score < 0.0 => score as i64 as u64,
        _ if score < TWO_TO_64 => score as u64,
        _ => 0,
    }
}

fn reply_distance(reply: &mut Reply, distance: f64) {
    reply.bulk(format!("{distance:.4}").as_bytes());
}

fn reply_position(reply: &mut Reply, position: Position) {
    reply.array(2);
    reply.fixed(position.longitude);
    reply.fixed(position.latitude);
}

fn geoadd(context: &mut Context<'_>) -> Outcome {
    let mut options = AddOptions::default();
    let mut at = 2;
    while at < context.words() {
        match context.word(at) {
            word if is_option(word, "nx") => options.absent = true,
            word if is_option(word, "xx") => options.present = true,
            word if is_option(word, "ch") => options.changed = true,
            _ => break,
        }
        at += 1;
    }
    let words = context.words() - at;
    if words == 0 || !words.is_multiple_of(3) || options.absent && options.present {
        return Err(SYNTAX);
    }
    let mut pairs = Vec::with_capacity(words / 3);
    for at in (at..context.words()).step_by(3) {
        let bits = position(context, at)?.encode();
        pairs.push((Score::try_from(bits as f64).unwrap_or(Score::ZERO), context.word(at + 2)));
    }
    add_members(context, options, &pairs)
}

fn geodist(context: &mut Context<'_>) -> Outcome {
    let unit = match context.words() {
        4 => 1.0,
        5 => unit(context, 4)?,
        _ => return Err(SYNTAX),
    };
    read_sorted_set(context, |context, set| {
        let position = |at: usize| set.and_then(|set| position_of(set, context.word(at)));
        match (position(2), position(3)) {
            (Some(one), Some(other)) => reply_distance(context.reply, one.distance(other) / unit),
            _ => context.reply.null(),
        }
        Ok(Flow::Continue)
    })
}

fn geohash(context: &mut Context<'_>) -> Outcome {
    read_sorted_set(context, |context, set| {
        context.reply.array(context.words() - 2);
        for member in context.arguments.from(2).iter() {
            let text = set.and_then(|set| position_of(set, member)).map(Position::text);
            context.reply.bulk_or_null(text.as_ref().map(|text| text.as_bytes()));
        }
        Ok(Flow::Continue)
    })
}

fn geopos(context: &mut Context<'_>) -> Outcome {
    read_sorted_set(context, |context, set| {
        context.reply.array(context.words() - 2);
        for member in context.arguments.from(2).iter() {
            match set.and_then(|set| position_of(set, member)) {
                Some(position) => reply_position(context.reply, position),
                None => context.reply.null_array(),
            }
        }
        Ok(Flow::Continue)
    })
}

/// In which order members come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Any,
    Near,
    Far,
}

/// Where a search has its centre.
#[derive(Clone, Copy, Debug)]
enum Centre<'a> {
    Position(Position),
    Member(&'a [u8]),
}

/// A search, as its command and its options say it.
#[derive(Clone, Copy, Debug)]
struct Search<'a> {
    centre: Option<Centre<'a>>,
    shape: Option<Shape>,
    /// Metres of the unit in which the area was given.
    unit: f64,
    order: Order,
    count: Option<usize>,
    /// Any members will do.
    any: bool,
    with_distance: bool,
    with_hash: bool,
    with_position: bool,
    /// Where the destination's name stands among the arguments.
    store: Option<usize>,
    store_distance: bool,
}

impl Search<'_> {
    const NONE: Search<'static> = Search {
        centre: None,
        shape: None,
        unit: 1.0,
        order: Order::Any,
        count: None,
        any: false,
        with_distance: false,
        with_hash: false,
        with_position: false,
        store: None,
        store_distance: false,
    };
}

/// Which command searches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Radius { may_store: bool },
    RadiusByMember { may_store: bool },
    Search,
    SearchStore,
}

/// A length that is not negative.
fn length(context: &Context<'_>, at: usize, not_a_number: &'static str) -> Result<f64, Refusal> {
    parse_float(context.word(at)).ok_or(Refusal::Fixed(not_a_number))
}

fn circle(context: &Context<'_>, at: usize) -> Result<(Shape, f64), Refusal> {
    let radius = length(context, at, "ERR need numeric radius")?;
    if radius < 0.0 {
        return Err(Refusal::Fixed("ERR radius cannot be negative"));
    }
    let unit = unit(context, at + 1)?;
    Ok((Shape::Circle { radius: radius * unit }, unit))
}

fn rectangle(context: &Context<'_>, at: usize) -> Result<(Shape, f64), Refusal> {
    let width = length(context, at, "ERR need numeric width")?;
    let height = length(context, at + 1, "ERR need numeric height")?;
    if width < 0.0 || height < 0.0 {
        return Err(Refusal::Fixed("ERR height or width cannot be negative"));
    }
    let unit = unit(context, at + 2)?;
    Ok((Shape::Box { width: width * unit, height: height * unit }, unit))
}

const NO_POSITION: Refusal = Refusal::Fixed("ERR could not decode requested zset member");

/// Reads the request. `set` is what the source key holds: a centre that is no member of it is refused on the way.
fn parse<'a>(context: &Context<'a>, form: Form, set: Option<&SortedSetValue>) -> Result<Search<'a>, Refusal> {
    let mut search = Search::NONE;
    let has = |member: &[u8]| set.is_none_or(|set| set.score(member).is_some());
    let mut at = match form {
        Form::Radius { .. } => {
            search.centre = Some(Centre::Position(position(context, 2)?));
            let (shape, unit) = circle(context, 4)?;
            (search.shape, search.unit) = (Some(shape), unit);
            6
        }
        Form::RadiusByMember { .. } => {
            search.centre = Some(Centre::Member(context.word(2)));
            if set.is_some() {
                if !has(context.word(2)) {
                    return Err(NO_POSITION);
                }
                let (shape, unit) = circle(context, 3)?;
                (search.shape, search.unit) = (Some(shape), unit);
            }
            5
        }
        Form::Search => 2,
        Form::SearchStore => {
            search.store = Some(1);
            3
        }
    };
    let searches = matches!(form, Form::Search | Form::SearchStore);
    let may_store = matches!(form, Form::Radius { may_store: true } | Form::RadiusByMember { may_store: true });
    while at < context.words() {
        let (word, following) = (context.word(at), context.words() - at - 1);
        let is_box = matches!(search.shape, Some(Shape::Box { .. }));
        let is_circle = matches!(search.shape, Some(Shape::Circle { .. }));
        let from_member = matches!(search.centre, Some(Centre::Member(_)));
        let from_position = matches!(search.centre, Some(Centre::Position(_)));
        match () {
            () if is_option(word, "withdist") => search.with_distance = true,
            () if is_option(word, "withhash") => search.with_hash = true,
            () if is_option(word, "withcoord") => search.with_position = true,
            () if is_option(word, "any") => search.any = true,
            () if is_option(word, "asc") => search.order = Order::Near,
            () if is_option(word, "desc") => search.order = Order::Far,
            () if is_option(word, "count") && following >= 1 => {
                let count = usize::try_from(context.integer(at + 1)?).ok().filter(|&count| count > 0);
                search.count = Some(count.ok_or(Refusal::Fixed("ERR COUNT must be > 0"))?);
                at += 1;
            }
            () if may_store && following >= 1 && (is_option(word, "store") || is_option(word, "storedist")) => {
                search.store = Some(at + 1);
                search.store_distance = is_option(word, "storedist");
                at += 1;
            }
            () if searches && is_option(word, "frommember") && following >= 1 && !from_position => {
                if !has(context.word(at + 1)) {
                    return Err(NO_POSITION);
                }
                search.centre = Some(Centre::Member(context.word(at + 1)));
                at += 1;
            }
            () if searches && is_option(word, "fromlonlat") && following >= 2 && !from_member => {
                search.centre = Some(Centre::Position(position(context, at + 1)?));
                at += 2;
            }
            () if searches && is_option(word, "byradius") && following >= 2 && !is_box => {
                let (shape, unit) = circle(context, at + 1)?;
                (search.shape, search.unit) = (Some(shape), unit);
                at += 2;
            }
            () if searches && is_option(word, "bybox") && following >= 3 && !is_circle => {
                let (shape, unit) = rectangle(context, at + 1)?;
                (search.shape, search.unit) = (Some(shape), unit);
                at += 3;
            }
            () if form == Form::SearchStore && is_option(word, "storedist") => search.store_distance = true,
            () => return Err(SYNTAX),
        }
        at += 1;
    }
    check(context, form, &search)?;
    if search.count.is_some() && search.order == Order::Any && !search.any {
        // The nearest so many are meant.
        search.order = Order::Near;
    }
    Ok(search)
}

/// Do the options fit together?
fn check(context: &Context<'_>, form: Form, search: &Search<'_>) -> Result<(), Refusal> {
    if search.store.is_some() && (search.with_distance || search.with_hash || search.with_position) {
        let name = if form == Form::SearchStore { "GEOSEARCHSTORE" } else { "STORE option in GEORADIUS" };
        let text = format!("ERR {name} is not compatible with WITHDIST, WITHHASH and WITHCOORD options");
        return Err(Refusal::built(text));
    }
    if matches!(form, Form::Search | Form::SearchStore) {
        let missing = match (search.centre, search.shape) {
            (None, _) => "ERR exactly one of FROMMEMBER or FROMLONLAT can be specified for ",
            (_, None) => "ERR exactly one of BYRADIUS and BYBOX can be specified for ",
            _ => "",
        };
        if !missing.is_empty() {
            return Err(Refusal::Built([missing.as_bytes(), context.word(0)].concat()));
        }
    }
    if search.any && search.count.is_none() {
        return Err(Refusal::Fixed("ERR the ANY argument requires COUNT argument"));
    }
    Ok(())
}

/// A member within the area.
struct Found {
    member: Box<[u8]>,
    hash: f64,
    position: Position,
    /// In metres.
    distance: f64,
}

fn find(set: &SortedSetValue, search: &Search<'_>) -> Vec<Found> {
    let centre = match search.centre {
        Some(Centre::Position(position)) => Some(position),
        Some(Centre::Member(member)) => position_of(set, member),
        None => None,
    };
    let (Some(centre), Some(shape)) = (centre, search.shape) else { return Vec::new() };
    let enough = search.count.filter(|_| search.any).unwrap_or(usize::MAX);
    let mut found = Vec::new();
    for range in shape.cover(centre) {
        let ranks = set.before_score(range.start as f64, false)..set.before_score(range.end as f64, false);
        for (member, hash) in set.range(ranks) {
            if found.len() == enough {
                break;
            }
            let position = Position::decode(bits_of(hash));
            if let Some(distance) = shape.distance_within(centre, position) {
                found.push(Found { member: (*member).into(), hash, position, distance });
            }
        }
    }
    match search.order {
        Order::Any => {}
        Order::Near => found.sort_by(|one, other| one.distance.total_cmp(&other.distance)),
        Order::Far => found.sort_by(|one, other| other.distance.total_cmp(&one.distance)),
    }
    found.truncate(search.count.unwrap_or(usize::MAX));
    found
}

fn run(context: &mut Context<'_>, form: Form) -> Outcome {
    let source = if form == Form::SearchStore { 2 } else { 1 };
    // The destination is not known before the options are read, and those are judged by what the source holds.
    let wanted = match form {
        Form::Radius { may_store: true } | Form::RadiusByMember { may_store: true } => {
            let is_store =
                |at: &usize| is_option(context.word(*at), "store") || is_option(context.word(*at), "storedist");
            (5..context.words() - 1).filter(is_store).map(|at| at + 1).collect()
        }
        Form::SearchStore => vec![1],
        _ => Vec::new(),
    };
    let mut keys = vec![context.key(source)];
    keys.extend(wanted.iter().map(|&at| context.key(at)));
    let mut transaction = context.lock_keys(&keys);
    let set = transaction.sorted_set(keys[0])?;
    context.count_read(keys[0], set.is_some());
    let search = parse(context, form, set)?;
    let found = set.map(|set| find(set, &search)).unwrap_or_default();
    if let Some(at) = search.store {
        let score = |found: &Found| if search.store_distance { found.distance / search.unit } else { found.hash };
        let members: Scored = found.iter().map(|found| (found.member.clone(), score(found))).collect();
        let event = if form == Form::SearchStore { "geosearchstore" } else { "georadiusstore" };
        store(&mut transaction, context.key(at), &members, event)?;
        context.commit(transaction);
        return context.reply_count(members.len());
    }
    drop(transaction);
    let extras = [search.with_distance, search.with_hash, search.with_position].iter().filter(|&&with| with).count();
    let reply = &mut *context.reply;
    reply.array(found.len());
    for Found { member, hash, position, distance } in &found {
        if extras > 0 {
            reply.array(1 + extras);
        }
        reply.bulk(member);
        if search.with_distance {
            reply_distance(reply, distance / search.unit);
        }
        if search.with_hash {
            reply.integer(*hash as i64);
        }
        if search.with_position {
            reply_position(reply, *position);
        }
    }
    Ok(Flow::Continue)
}

fn geosearch(context: &mut Context<'_>) -> Outcome {
    run(context, Form::Search)
}

fn geosearchstore(context: &mut Context<'_>) -> Outcome {
    run(context, Form::SearchStore)
}

fn georadius(context: &mut Context<'_>) -> Outcome {
    run(context, Form::Radius { may_store: true })
}

fn georadius_ro(context: &mut Context<'_>) -> Outcome {
    run(context, Form::Radius { may_store: false })
}

fn georadiusbymember(context: &mut Context<'_>) -> Outcome {
    run(context, Form::RadiusByMember { may_store: true })
}

fn georadiusbymember_ro(context: &mut Context<'_>) -> Outcome {
    run(context, Form::RadiusByMember { may_store: false })
}

#[cfg(test)]
mod tests {
    use crate::commands::testing::Fixture;

    #[test]
    fn positions() {
        let mut fixture = Fixture::new();
        fixture.expect(&[
            ("geoadd g 13.361389 38.115556 Palermo 15.087269 37.502669 Catania", ":2\r\n"),
            ("geodist g Palermo Catania", "$11\r\n166274.1516\r\n"),
            ("geodist g Palermo Catania km", "$8\r\n166.2742\r\n"),
            ("geodist g Palermo nosuch", "$-1\r\n"),
            ("geohash g Palermo nosuch", "*2\r\n$11\r\nsqc8b49rny0\r\n$-1\r\n"),
            (
                "geopos g Palermo nosuch",
                "*2\r\n*2\r\n$20\r\n13.36138933897018433\r\n$20\r\n38.11555639549629859\r\n*-1\r\n",
            ),
            (
                "georadius g 15 37 200 km withdist",
                "*2\r\n*2\r\n$7\r\nPalermo\r\n$8\r\n190.4424\r\n*2\r\n$7\r\nCatania\r\n$7\r\n56.4413\r\n",
            ),
            ("geosearch g fromlonlat 15 37 byradius 200 km asc count 1", "*1\r\n$7\r\nCatania\r\n"),
            ("geosearch g frommember Palermo bybox 400 400 km desc", "*2\r\n$7\r\nCatania\r\n$7\r\nPalermo\r\n"),
            ("georadiusbymember g Palermo 100 km store t", ":1\r\n"),
            ("zscore t Palermo", "$16\r\n3479099956230698\r\n"),
            ("geosearchstore t g fromlonlat 15 37 bybox 400 400 km storedist", ":2\r\n"),
            ("geosearchstore t g fromlonlat 0 0 bybox 400 400 km", ":0\r\n"),
            ("exists t", ":0\r\n"),
            ("geoadd g 200 0 x", "-ERR invalid longitude,latitude pair 200.000000,0.000000\r\n"),
            (
                "geosearch g fromlonlat 15 37 asc desc",
                "-ERR exactly one of BYRADIUS and BYBOX can be specified for geosearch\r\n",
            ),
            ("geoadd end -180 -85.05112878 there", ":1\r\n"),
            ("geosearch end fromlonlat 180 -85.05112878 bybox 20 1511 ft", "*1\r\n$5\r\nthere\r\n"),
            ("georadius g 15 37 200 lightyears", "-ERR unsupported unit provided. please use M, KM, FT, MI\r\n"),
            ("georadiusbymember g nosuch 1 m", "-ERR could not decode requested zset member\r\n"),
        ]);
        for write in
            ["georadius g 15 37 200 km store __swytch:x", "geosearchstore __swytch:x g frommember Palermo byradius 1 m"]
        {
            assert!(fixture.run(write).contains("read-only"), "{write}");
        }
    }
}
