//! SUBSCRIBE and its kin, PUBLISH, SPUBLISH, PUBSUB.
//!
//! A message reaches subscribers at this node and at all nodes that it is connected to; what is counted and listed is this node's
//! alone, as in a Redis cluster.

use bytes::Bytes;

use super::context::{Context, Outcome, Refusal, shown};
use super::spec::{Access, Categories, ChannelUse, Command, Flags, Group, Handler, KeySpec};
use super::{Flow, wrong_arity};
use crate::pubsub::{Message, Topic};

const LISTENING: Flags =
    Flags::PUBSUB.with(Flags::NOSCRIPT).with(Flags::LOADING).with(Flags::STALE).with(Flags::WHILE_SUBSCRIBED);
const ASKING: Flags = Flags::PUBSUB.with(Flags::LOADING).with(Flags::STALE);

const fn row(name: &'static str, arity: isize, flags: Flags, handler: Handler) -> Command {
    Command::new(Group::PubSub, name, arity, handler).flags(flags).categories(Categories::PUBSUB)
}

const fn question(name: &'static str, arity: isize, handler: Handler) -> Command {
    row(name, arity, ASKING, handler)
}

const SHARD_CHANNELS: KeySpec = KeySpec::to_the_end(1, 1, Access::NOT_KEY);
const PER_CHANNEL: &str = "O(N) with N channels";

/// The rows of this family.
pub const COMMANDS: &[Command] = &[
    row("subscribe", -2, LISTENING, subscribe).channels(ChannelUse::All).docs(
        "2.0.0",
        PER_CHANNEL,
        "Listens to channels",
    ),
    row("unsubscribe", -1, LISTENING, unsubscribe).docs("2.0.0", PER_CHANNEL, "Stops listening to channels, or to all"),
    row("psubscribe", -2, LISTENING, psubscribe).channels(ChannelUse::Patterns).docs(
        "2.0.0",
        "O(N) with N patterns",
        "Listens to channels that fit patterns",
    ),
    row("punsubscribe", -1, LISTENING, punsubscribe).docs(
        "2.0.0",
        "O(N) with N patterns",
        "Stops listening to patterns, or to all",
    ),
    row("ssubscribe", -2, LISTENING, ssubscribe).keys(&[SHARD_CHANNELS]).channels(ChannelUse::All).docs(
        "7.0.0",
        PER_CHANNEL,
        "Listens to shard channels",
    ),
    row("sunsubscribe", -1, LISTENING, sunsubscribe).keys(&[SHARD_CHANNELS]).docs(
        "7.0.0",
        PER_CHANNEL,
        "Stops listening to shard channels, or to all",
    ),
    row("publish", 3, ASKING.with(Flags::FAST).with(Flags::MAY_REPLICATE), publish).channels(ChannelUse::First).docs(
        "2.0.0",
        "O(N+M) with N subscribers and M patterns",
        "Sends a message to a channel",
    ),
    row("spublish", 3, ASKING.with(Flags::FAST).with(Flags::MAY_REPLICATE), spublish)
        .keys(&[KeySpec::one(1, Access::NOT_KEY)])
        .channels(ChannelUse::First)
        .docs("7.0.0", "O(N) with N subscribers", "Sends a message to a shard channel"),
    Command::new(Group::PubSub, "pubsub", -2, container)
        .docs("2.8.0", "Depends on subcommand.", "Tells what is listened to")
        .subcommands(&[
            question("channels", -2, channels).docs("2.8.0", PER_CHANNEL, "Returns the channels that have listeners"),
            question("numsub", -2, numsub).docs("2.8.0", PER_CHANNEL, "Counts the listeners of channels"),
            question("numpat", 2, numpat).docs("2.8.0", "O(1)", "Counts the patterns that have listeners"),
            question("shardchannels", -2, shardchannels).docs(
                "7.0.0",
                PER_CHANNEL,
                "Returns the shard channels that have listeners",
            ),
            question("shardnumsub", -2, shardnumsub).docs(
                "7.0.0",
                PER_CHANNEL,
                "Counts the listeners of shard channels",
            ),
            Command::new(Group::PubSub, "help", 2, help).flags(Flags::LOADING.with(Flags::STALE)).docs(
                "6.2.0",
                "O(1)",
                "Lists the subcommands",
            ),
        ]),
];

/// Not reached: without a subcommand the number of arguments is wrong.
fn container(context: &mut Context<'_>) -> Outcome {
    Err(wrong_arity(context.entry))
}

/// What a client of RESP2 may not do while it listens.
pub fn only_listening(full_name: &str) -> Refusal {
    Refusal::built(format!(
        "ERR Can't execute '{full_name}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in \
         this context"
    ))
}

/// Tells the client of a change: the command, the name, and to how much it listens now.
fn tell(context: &mut Context<'_>, topic: Topic, name: Option<&[u8]>) {
    let count = context.session.subscriptions().count_with(topic);
    // Also to those who want no replies (CLIENT REPLY): this is none, as Redis sees it. EXEC has but one for all of its commands.
    context.session.is_told = context.held.is_none() && !context.session.in_exclusive;
    context.reply.push(3);
    context.reply.bulk(context.entry.command.name.as_bytes());
    context.reply.bulk_or_null(name);
    context.reply.count(count);
}

fn listen(context: &mut Context<'_>, topic: Topic) -> Outcome {
    for name in context.arguments.from(1).iter() {
        context.session.listen(&context.state.channels, topic, name);
        tell(context, topic, Some(name));
    }
    Ok(Flow::Continue)
}

fn stop_listening(context: &mut Context<'_>, topic: Topic) -> Outcome {
    let channels = &context.state.channels;
    if context.words() > 1 {
        for name in context.arguments.from(1).iter() {
            context.session.stop_listening(channels, topic, name);
            tell(context, topic, Some(name));
        }
        return Ok(Flow::Continue);
    }
    let names = context.session.subscriptions().names(topic);
    if names.is_empty() {
        tell(context, topic, None);
    }
    for name in names {
        context.session.stop_listening(channels, topic, &name);
        tell(context, topic, Some(&name));
    }
    Ok(Flow::Continue)
}

fn subscribe(context: &mut Context<'_>) -> Outcome {
    listen(context, Topic::Channel)
}

fn unsubscribe(context: &mut Context<'_>) -> Outcome {
    stop_listening(context, Topic::Channel)
}

fn psubscribe(context: &mut Context<'_>) -> Outcome {
    listen(context, Topic::Pattern)
}

fn punsubscribe(context: &mut Context<'_>) -> Outcome {
    stop_listening(context, Topic::Pattern)
}

fn ssubscribe(context: &mut Context<'_>) -> Outcome {
    if context.in_exec() {
        return Err(Refusal::Fixed("ERR SSUBSCRIBE isn't allowed for a DENY BLOCKING client"));
    }
    listen(context, Topic::Shard)
}

fn sunsubscribe(context: &mut Context<'_>) -> Outcome {
    stop_listening(context, Topic::Shard)
}

fn send(context: &mut Context<'_>, sharded: bool) -> Outcome {
    let copy = |at| Bytes::copy_from_slice(context.word(at));
    let message = Message { sharded, channel: copy(1), payload: copy(2) };
    let receivers = context.state.channels.publish(message, context.now);
    context.reply_count(receivers)
}

fn publish(context: &mut Context<'_>) -> Outcome {
    send(context, false)
}

fn spublish(context: &mut Context<'_>) -> Outcome {
    send(context, true)
}

fn list(context: &mut Context<'_>, topic: Topic) -> Outcome {
    if context.words() > 3 {
        let text = b"ERR unknown subcommand or wrong number of arguments for '";
        let text: [&[u8]; 3] = [text, shown(context.word(1)), b"'. Try PUBSUB HELP."];
        return Err(Refusal::Built(text.concat()));
    }
    let names = context.state.channels.names(topic, context.arguments.get(2));
    context.reply.array(names.len());
    names.iter().for_each(|name| context.reply.bulk(name));
    Ok(Flow::Continue)
}

fn channels(context: &mut Context<'_>) -> Outcome {
    list(context, Topic::Channel)
}

fn shardchannels(context: &mut Context<'_>) -> Outcome {
    list(context, Topic::Shard)
}

fn count_listeners(context: &mut Context<'_>, topic: Topic) -> Outcome {
    let names = context.arguments.from(2);
    context.reply.array(names.len() * 2);
    for name in names.iter() {
        context.reply.bulk(name);
        context.reply.count(context.state.channels.listeners(topic, name));
    }
    Ok(Flow::Continue)
}

fn numsub(context: &mut Context<'_>) -> Outcome {
    count_listeners(context, Topic::Channel)
}

fn shardnumsub(context: &mut Context<'_>) -> Outcome {
    count_listeners(context, Topic::Shard)
}

fn numpat(context: &mut Context<'_>) -> Outcome {
    let count = context.state.channels.count(Topic::Pattern);
    context.reply_count(count)
}

fn help(context: &mut Context<'_>) -> Outcome {
    context.reply_help(&[
        "CHANNELS [<pattern>]",
        "    Return the channels that have listeners and fit the pattern (default: '*').",
        "NUMPAT",
        "    Return the number of patterns that have listeners.",
        "NUMSUB [<channel> ...]",
        "    Return the number of listeners of these channels, without those of patterns.",
        "SHARDCHANNELS [<pattern>]",
        "    Return the shard channels that have listeners and fit the pattern (default: '*').",
        "SHARDNUMSUB [<shardchannel> ...]",
        "    Return the number of listeners of these shard channels.",
    ])
}

#[cfg(test)]
mod tests {
    use crate::commands::testing::Fixture;
    use crate::commands::{Connected, Session};

    #[test]
    fn listening_in_resp2() {
        let mut fixture = Fixture::new();
        let refused = |name: &str| {
            format!(
                "-ERR Can't execute '{name}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed \
                 in this context\r\n"
            )
        };
        fixture.expect(&[
            ("subscribe", "-ERR wrong number of arguments for 'subscribe' command\r\n"),
            ("unsubscribe", "*3\r\n$11\r\nunsubscribe\r\n$-1\r\n:0\r\n"),
            (
                "subscribe b a b",
                "*3\r\n$9\r\nsubscribe\r\n$1\r\nb\r\n:1\r\n*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:2\r\n\
                 *3\r\n$9\r\nsubscribe\r\n$1\r\nb\r\n:2\r\n",
            ),
            ("psubscribe a*", "*3\r\n$10\r\npsubscribe\r\n$2\r\na*\r\n:3\r\n"),
            ("ssubscribe s", "*3\r\n$10\r\nssubscribe\r\n$1\r\ns\r\n:1\r\n"),
            ("get a", &refused("get")),
            ("config get x", &refused("config|get")),
            ("hello 3", &refused("hello")),
            ("multi", &refused("multi")),
            ("publish a b", &refused("publish")),
            ("pubsub numpat", &refused("pubsub|numpat")),
            ("exec", &refused("exec").replace("-ERR", "-EXECABORT Transaction discarded because of:")),
            ("get", "-ERR wrong number of arguments for 'get' command\r\n"),
            ("ping", "*2\r\n$4\r\npong\r\n$0\r\n\r\n"),
            ("ping hi", "*2\r\n$4\r\npong\r\n$2\r\nhi\r\n"),
            ("ping a b", "-ERR wrong number of arguments for 'ping' command\r\n"),
            ("unsubscribe x", "*3\r\n$11\r\nunsubscribe\r\n$1\r\nx\r\n:3\r\n"),
            (
                "unsubscribe",
                "*3\r\n$11\r\nunsubscribe\r\n$1\r\na\r\n:2\r\n*3\r\n$11\r\nunsubscribe\r\n$1\r\nb\r\n:1\r\n",
            ),
            ("punsubscribe a*", "*3\r\n$12\r\npunsubscribe\r\n$2\r\na*\r\n:0\r\n"),
            ("get a", &refused("get")),
            ("sunsubscribe", "*3\r\n$12\r\nsunsubscribe\r\n$1\r\ns\r\n:0\r\n"),
            ("sunsubscribe", "*3\r\n$12\r\nsunsubscribe\r\n$-1\r\n:0\r\n"),
            ("get a", "$-1\r\n"),
            ("subscribe a", "*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n"),
            ("reset", "+RESET\r\n"),
            ("pubsub channels", "*0\r\n"),
        ]);
    }

    #[test]
    fn listening_in_resp3() {
        let mut fixture = Fixture::new();
        fixture.run("hello 3");
        fixture.expect(&[
            ("subscribe a", ">3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n"),
            ("psubscribe a* b*", ">3\r\n$10\r\npsubscribe\r\n$2\r\na*\r\n:2\r\n>3\r\n$10\r\npsubscribe\r\n$2\r\nb*\r\n:3\r\n"),
            ("ssubscribe a", ">3\r\n$10\r\nssubscribe\r\n$1\r\na\r\n:1\r\n"),
            ("ping", "+PONG\r\n"),
            // What it publishes itself comes behind the reply.
            (
                "publish a hi",
                ":2\r\n>3\r\n$7\r\nmessage\r\n$1\r\na\r\n$2\r\nhi\r\n>4\r\n$8\r\npmessage\r\n$2\r\na*\r\n$1\r\na\r\n$2\r\nhi\r\n",
            ),
            ("spublish a \"\"", ":1\r\n>3\r\n$8\r\nsmessage\r\n$1\r\na\r\n$0\r\n\r\n"),
            ("multi", "+OK\r\n"),
            ("publish a x", "+QUEUED\r\n"),
            ("subscribe q", "+QUEUED\r\n"),
            ("ssubscribe q", "+QUEUED\r\n"),
            ("punsubscribe", "+QUEUED\r\n"),
            (
                "exec",
                "*4\r\n:2\r\n>3\r\n$9\r\nsubscribe\r\n$1\r\nq\r\n:4\r\n\
                 -ERR SSUBSCRIBE isn't allowed for a DENY BLOCKING client\r\n>3\r\n$12\r\npunsubscribe\r\n$2\r\na*\r\n:3\r\n\
                 >3\r\n$12\r\npunsubscribe\r\n$2\r\nb*\r\n:2\r\n>3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\nx\r\n\
                 >4\r\n$8\r\npmessage\r\n$2\r\na*\r\n$1\r\na\r\n$1\r\nx\r\n",
            ),
            ("unsubscribe x", ">3\r\n$11\r\nunsubscribe\r\n$1\r\nx\r\n:2\r\n"),
            ("punsubscribe", ">3\r\n$12\r\npunsubscribe\r\n_\r\n:2\r\n"),
        ]);
        assert!(fixture.run("hello 2").starts_with("*14\r\n"));
        assert!(fixture.run("get a").starts_with("-ERR Can't execute 'get'"));
    }

    #[test]
    fn what_is_listened_to() {
        let mut fixture = Fixture::new();
        let mut other = Session::open(&fixture.state, Connected::default(), 0, fixture.now, 2);
        let channels = &fixture.state.channels;
        for (topic, name) in [
            (super::Topic::Channel, "news"),
            (super::Topic::Channel, "weather"),
            (super::Topic::Pattern, "n*"),
            (super::Topic::Shard, "s"),
        ] {
            other.listen(channels, topic, name.as_bytes());
        }
        fixture.run("hello 3");
        fixture.expect(&[
            ("subscribe news", ">3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n"),
            ("psubscribe n*", ">3\r\n$10\r\npsubscribe\r\n$2\r\nn*\r\n:2\r\n"),
            ("pubsub channels", "*2\r\n$4\r\nnews\r\n$7\r\nweather\r\n"),
            ("pubsub channels n*", "*1\r\n$4\r\nnews\r\n"),
            (
                "pubsub channels a b",
                "-ERR unknown subcommand or wrong number of arguments for 'channels'. Try PUBSUB HELP.\r\n",
            ),
            ("pubsub numsub", "*0\r\n"),
            ("pubsub numsub news s", "*4\r\n$4\r\nnews\r\n:2\r\n$1\r\ns\r\n:0\r\n"),
            ("pubsub numpat", ":1\r\n"),
            ("pubsub shardchannels", "*1\r\n$1\r\ns\r\n"),
            ("pubsub shardnumsub s news", "*4\r\n$1\r\ns\r\n:1\r\n$4\r\nnews\r\n:0\r\n"),
            ("pubsub foo", "-ERR unknown subcommand 'foo'. Try PUBSUB HELP.\r\n"),
            ("pubsub", "-ERR wrong number of arguments for 'pubsub' command\r\n"),
            ("pubsub numpat x", "-ERR wrong number of arguments for 'pubsub|numpat' command\r\n"),
        ]);
        let listed = fixture.run("client list type pubsub");
        assert!(listed.contains(" flags=P db=0 sub=2 psub=1 ssub=1 "), "{listed}");
        assert_eq!(fixture.run("client list type normal"), "=4\r\ntxt:\r\n");
        assert!(
            fixture.run("info stats").contains("pubsub_channels:2\r\npubsub_patterns:1\r\npubsubshard_channels:1\r\n")
        );
        other.close(&fixture.state, fixture.now);
        fixture.expect(&[
            ("pubsub channels", "*1\r\n$4\r\nnews\r\n"),
            ("pubsub shardchannels", "*0\r\n"),
            ("pubsub numsub news", "*2\r\n$4\r\nnews\r\n:1\r\n"),
        ]);
    }
}
