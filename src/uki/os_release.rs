//! `.osrel`: os-release(5).

/// The assignments of an os-release text, in order; quotes removed, comments and odd lines left out.
#[must_use]
pub fn os_release_fields(text: &str) -> Vec<(String, String)> {
    text.lines()
        .filter_map(|line| line.trim().split_once('='))
        .filter(|(key, _)| !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'))
        .map(|(key, value)| (key.to_owned(), unquote(value)))
        .collect()
}

fn unquote(value: &str) -> String {
    let inner = ['"', '\''].iter().find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote));
    match inner {
        None => value.to_owned(),
        Some(inner) => {
            // In double quotes a backslash takes the meaning from " $ ` and itself.
            let mut text = String::new();
            let mut escaped = false;
            for character in inner.chars() {
                if character == '\\' && !escaped && value.starts_with('"') {
                    escaped = true;
                } else {
                    text.push(character);
                    escaped = false;
                }
            }
            text
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_and_comments_are_handled() {
        let fields =
            os_release_fields("# comment\nID=debian\nNAME=\"A \\\"B\\\"\"\nVERSION='1 2'\nodd line\n=x\n");
        let expected = [("ID", "debian"), ("NAME", "A \"B\""), ("VERSION", "1 2")];
        assert_eq!(fields, expected.map(|(key, value)| (key.to_owned(), value.to_owned())));
    }
}
