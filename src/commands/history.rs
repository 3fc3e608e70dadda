//! What changed of each command since it was introduced, as COMMAND DOCS tells it.
//!
//! `history.txt` has a line for each change: the full name of the command, the Redis version that brought it, and what it was, in a few words; the
//! oldest of a command first. Must not know more of a command than its name.

/// The changes of the command of this full name: version and text.
pub(super) fn of(full_name: &str) -> Vec<(&'static str, &'static str)> {
    lines().filter(|(name, _)| *name == full_name).map(|(_, change)| change).collect()
}

/// All lines. They are read anew each time: somebody asks once a day.
fn lines() -> impl Iterator<Item = (&'static str, (&'static str, &'static str))> {
    include_str!("history.txt").lines().filter_map(|line| {
        let (name, change) = line.split_once(' ')?;
        Some((name, change.split_once(' ')?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::table;
    use crate::commands::testing::Fixture;

    #[test]
    fn every_line_is_of_a_command_and_a_version() {
        assert_eq!(lines().count(), include_str!("history.txt").lines().count());
        let names: Vec<(&str, Vec<u32>)> = lines()
            .map(|(name, (version, _))| (name, version.split('.').filter_map(|part| part.parse().ok()).collect()))
            .collect();
        assert!(names.is_sorted(), "by name, and the oldest first");
        for (name, version) in names {
            let entry = table().find_full(name.as_bytes()).unwrap_or_else(|| panic!("{name} is no command"));
            assert!(version.len() == 3, "{name}");
            let since: Vec<u32> = entry.command.since.split('.').filter_map(|part| part.parse().ok()).collect();
            // Redis says so of this one: it changed before the version that is told as its first was out.
            let is_early = name == "zrevrangebyscore";
            assert!(since < version || is_early, "{name} was not there before");
        }
    }

    #[test]
    fn command_docs_tells_what_changed_and_for_whom_a_command_is() {
        let mut fixture = Fixture::new();
        let documented = fixture.run("command docs auth");
        let expected =
            "$7\r\nhistory\r\n*1\r\n*2\r\n$5\r\n6.0.0\r\n$50\r\nTakes the name of a user in front of the password.\r\n";
        assert!(documented.contains(expected), "{documented}");
        assert!(!fixture.run("command docs ping").contains("history"));
        assert!(fixture.run("command docs debug").contains("$9\r\ndoc_flags\r\n*1\r\n+syscmd\r\n"));
        let without_complexity = fixture.run("command docs lolwut");
        assert!(without_complexity.starts_with("*2\r\n$6\r\nlolwut\r\n*8\r\n"), "{without_complexity}");
        assert!(!without_complexity.contains("complexity"), "{without_complexity}");
    }
}
