//! Scripts and style sheets as they are sent: without what only their readers need. No text goes over a line in them
//! (a test holds that), so each line can be looked at by itself.

/// What a file is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    Script,
    StyleSheet,
}

/// Without comments that have lines of their own, indents, and spaces that separate nothing.
pub(super) fn compact(source: &str, written: Written) -> String {
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
        match written {
            Written::Script => script(line, &mut out),
            Written::StyleSheet => style(line, &mut out),
        }
        // The next line goes on there by itself; only a remark at the end would take it in. A block ends style sheets' rules.
        let ends = if written == Written::Script { "{([,;" } else { "{,;}" };
        let goes_on = line.ends_with(|sign| ends.contains(sign)) && !line.contains("//");
        if !goes_on {
            out.push('\n');
        }
    }
    out
}

/// Signs of a script that need no space beside them. `+`, `-`, `/` and `.` may mean something else without.
fn needs_no_space(sign: char) -> bool {
    "{}()[],;:=<>?&|!*%\"'`".contains(sign)
}

/// A line of a script. Texts stay, and all that lies within the outermost backquotes.
fn script(line: &str, out: &mut String) {
    let template = line.find('`').zip(line.rfind('`'));
    let (mut quote, mut before, mut signs) = (None, None::<char>, line.char_indices().peekable());
    while let Some((at, sign)) = signs.next() {
        let is_kept = template.is_some_and(|(first, last)| at > first && at < last);
        if !is_kept {
            match quote {
                Some(open) if sign == open && before != Some('\\') => quote = None,
                None if matches!(sign, '"' | '\'') => quote = Some(sign),
                None if sign == '/' && is_expression(out) => return out.push_str(line.get(at..).unwrap_or_default()),
                _ => {}
            }
        }
        let next = signs.peek().map(|(_, next)| *next);
        let separates = |side: Option<char>| side.is_some_and(|side| !needs_no_space(side));
        let is_idle = sign == ' ' && quote.is_none() && !is_kept && !(separates(before) && separates(next));
        before = Some(if before == Some('\\') && sign == '\\' { ' ' } else { sign });
        if !is_idle {
            out.push(sign);
        }
    }
}

/// Whether a `/` behind this begins an expression of its own: a regular expression. The rest of such a line stays.
fn is_expression(out: &str) -> bool {
    let line = out.rsplit('\n').next().unwrap_or_default().trim_end();
    line.is_empty() || line.ends_with(|sign| "(,=:[!&|?{};>".contains(sign)) || line.ends_with("return")
}

/// A line of a style sheet. Before a colon, and around what is computed, spaces mean something.
fn style(line: &str, out: &mut String) {
    let (mut quoted, mut before, mut signs) = (false, None, line.chars().peekable());
    while let Some(sign) = signs.next() {
        quoted ^= sign == '"';
        let next = signs.peek().copied();
        let is_idle = sign == ' '
            && !quoted
            && (matches!(before, Some('{' | '}' | ';' | ':' | ',')) || matches!(next, Some('{' | '}' | ';')));
        before = Some(sign);
        if !is_idle {
            out.push(sign);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::pages::FILES;

    fn script(source: &str) -> String {
        compact(source, Written::Script)
    }

    #[test]
    fn comments_indents_and_idle_spaces_go_and_all_else_stays() {
        let source = "// a comment\n\n/** about f\n * and more */\nfunction f() {\n  // why\n  return \"// text\" + `/* ${1} */`;\n}\n";
        assert_eq!(script(source), "function f(){return\"// text\"+`/* ${1} */`;\n}\n");
        let style = compact(
            "/* one */\n.a > .b, .c :hover { width: calc(1px + 2px); content: \" : \"; }\n",
            Written::StyleSheet,
        );
        assert_eq!(style, ".a > .b,.c :hover{width:calc(1px + 2px);content:\" : \";}");
        assert_eq!(script("a(\n  1,\n  2,\n);\nb = `x;`;\nc; // so;\nd\n"), "a(1,2,);b=`x;`;c;// so;\nd\n");
    }

    #[test]
    fn texts_templates_and_regular_expressions_stay() {
        let cases = [
            ("const a = \"x  ( y\";", "const a=\"x  ( y\";"),
            ("const a = 'it\\'s  ( y' ;", "const a='it\\'s  ( y';"),
            ("t = `a ${b ? ` c ` : \" d \"} e` + f;", "t=`a ${b ? ` c ` : \" d \"} e`+ f;"),
            ("if (/^ (a) $/.test( b )) c = d;", "if(/^ (a) $/.test( b )) c = d;"),
            ("x = a / b ( c );", "x=a / b(c);"),
            ("x = a + +b - -c;", "x=a + +b - -c;"),
            ("for (const [a, b] of c) yield a in b;", "for(const[a,b]of c)yield a in b;"),
            ("import { a, b as c } from \"./d.js\";", "import{a,b as c}from\"./d.js\";"),
            ("export const f = async ({ a }) => (b ? { ...a } : null);", "export const f=async({a})=>(b?{...a}:null);"),
        ];
        for (source, sent) in cases {
            assert_eq!(script(source).trim_end(), sent, "{source}");
        }
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
