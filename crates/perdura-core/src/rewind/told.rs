//! Whether one failure tells of another: code and SDKs pass an error on as it is, or within a text of their own.

use crate::failure::Failure;

/// How one failure tells of another; the surer way first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Told {
    /// It is the same, or its cause is, or its text ends with the other's: `could not ship: no route`.
    PassedOn,
    /// The other's text stands somewhere in it by itself: `2 errors (no route) (no money)`.
    Mentioned,
}

/// How `end` tells of `failure`, whose message some workers know as `message`; `None` if it does not.
pub(super) fn told(end: &Failure, failure: &Failure, message: &str) -> Option<Told> {
    let levels = std::iter::successors(Some(end), |level| level.cause.as_deref());
    let of_level = |level: &Failure| {
        let is_same = (&level.kind, &level.message) == (&failure.kind, &failure.message);
        let said = [failure.message.as_str(), message].into_iter();
        if is_same {
            Some(Told::PassedOn)
        } else {
            said.filter_map(|said| quotes(&level.message, said)).min()
        }
    };
    levels.filter_map(of_level).min()
}

/// Whether a text contains another one that is not a part of a longer sentence: `no route` is not in `no router`, nor in
/// `no route was planned`.
fn quotes(text: &str, said: &str) -> Option<Told> {
    let (text, said) = (text.trim(), said.trim());
    if said.is_empty() {
        return None;
    }
    let is_phrase = said.contains(char::is_whitespace);
    let is_word = |char: Option<char>| char.is_some_and(char::is_alphanumeric);
    let (first, last) = (said.chars().next(), said.chars().next_back());
    let how = text.match_indices(said).filter_map(|(at, _)| {
        let (before, after) = (&text[..at], &text[at + said.len()..]);
        // What follows or precedes on the same line. A word alone may be of the sentence before it; of several words it
        // is likely enough that they are the other's.
        let edge = if is_phrase { before } else { before.trim_end_matches([' ', '\t']) };
        let begins = !is_word(first) || !is_word(edge.chars().next_back());
        let ends = !is_word(last) || !is_word(after.trim_start_matches([' ', '\t']).chars().next());
        let passes_on = after.is_empty() && (before.is_empty() || before.trim_end().ends_with(':'));
        match begins && ends {
            true if passes_on => Some(Told::PassedOn),
            true => Some(Told::Mentioned),
            false => None,
        }
    });
    how.min()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn how(end: &str, said: &str) -> Option<Told> {
        told(&Failure::new("Report", end), &Failure::new("E", said), said)
    }

    #[test]
    fn what_sdks_and_contexts_make_of_an_error_passes_it_on() {
        let wrapped = [
            "no route to host",
            "could not ship: no route to host",
            "order-7: Activity task #3 failed: no route to host",
            "Task 'ship' (#3) failed with an unhandled exception: no route to host",
            "could not ship\n\nCaused by:\n    no route to host",
        ];
        for end in wrapped {
            assert_eq!(how(end, "no route to host"), Some(Told::PassedOn), "{end}");
        }
        assert_eq!(how("Activity task #3 failed: timeout", "timeout\n"), Some(Told::PassedOn));
        let cause = Some(Box::new(Failure::new("E", "no route")));
        let end = Failure { cause, ..Failure::new("Report", "could not ship") };
        assert_eq!(told(&end, &Failure::new("E", "no route"), ""), Some(Told::PassedOn));
    }

    #[test]
    fn a_text_that_stands_by_itself_in_another_is_mentioned() {
        let mentions = [
            "One or more errors occurred. (no route) (no money)",
            "cannot ship, \"no route\" is what it said",
            "cannot ship because no route",
            "no route, no money",
            "Orchestrator failed: no route \n at ship.js:12",
        ];
        for end in mentions {
            assert_eq!(how(end, "no route"), Some(Told::Mentioned), "{end}");
        }
        assert_eq!(how("failed: [E7] no route. Try later", "[E7] no route."), Some(Told::Mentioned));
    }

    #[test]
    fn a_text_that_is_a_part_of_a_longer_one_is_not_told_of() {
        for end in ["there is no router", "could not ship: no route was planned for it", "casino route", ""] {
            assert_eq!(how(end, "no route"), None, "{end}");
        }
        assert_eq!(how("the payment timeout is 5 s", "timeout"), None);
        assert_eq!(how("anything", ""), None);
    }

    #[test]
    fn a_child_is_told_of_without_the_name_that_its_parent_knows_it_by() {
        let failure = Failure::new("E", "sub-orchestration \"kid\": no route");
        let end = Failure::new("TaskFailedError", "Sub-orchestration task #0 failed: no route");
        assert_eq!(told(&end, &failure, "no route"), Some(Told::PassedOn));
        assert_eq!(told(&end, &failure, &failure.message), None);
    }
}
