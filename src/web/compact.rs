//! Scripts and style sheets as they are sent: without what only their readers need. No text goes over a line in them
//! (a test holds that), so each line can be looked at by itself.

/// Without comments that have lines of their own, and without indents.
pub(super) fn compact(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut in_comment = false;
    for line in source.lines().map(str::trim) {
        let begins = !in_comment && line.starts_with("/*");
        in_comment |= begins;
        if in_comment {
            in_comment = !line.ends_with("*/");
            continue;
        }
        if line.is_empty() || line.starts_with("//") {
            continue;
        }
        out.push_str(line);
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::pages::FILES;

    #[test]
    fn comments_and_indents_go_and_all_else_stays() {
        let source = "// a comment\n\n/** about f\n * and more */\nfunction f() {\n  // why\n  return \"// text\" + `/* ${1} */`;\n}\n/* one */\n.a { b: c; }\n";
        assert_eq!(compact(source), "function f() {\nreturn \"// text\" + `/* ${1} */`;\n}\n.a { b: c; }\n");
    }

    #[test]
    fn no_text_goes_over_a_line_and_no_code_follows_a_comment() {
        for file in FILES.iter().filter(|file| !file.name.ends_with(".svg")) {
            for (number, line) in file.source.lines().enumerate() {
                let place = format!("{}:{}", file.name, number + 1);
                assert!(line.matches('`').count() % 2 == 0 && !line.ends_with('\\'), "{place}: {line}");
                let comment = line.trim().starts_with("/*");
                assert!(!comment || !line.contains("*/") || line.trim().ends_with("*/"), "{place}: {line}");
            }
        }
    }
}
