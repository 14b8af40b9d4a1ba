//! Text from outside on its way to a terminal.

/// The same text, but nothing in it moves the cursor, changes colours, breaks the line or turns the direction of writing.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if acts_on_the_terminal(c) { escaped.extend(c.escape_default()) } else { escaped.push(c) }
    }
    escaped
}

fn acts_on_the_terminal(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_acts_on_a_terminal_is_written_out() {
        assert_eq!(
            escape("a\x1b[31mb\nc\u{202e}d \u{e4}\u{6f22} \u{1f600}"),
            "a\\u{1b}[31mb\\nc\\u{202e}d \u{e4}\u{6f22} \u{1f600}"
        );
    }
}
