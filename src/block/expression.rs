//! Expressions and templates: Jinja, with a limit of what one may cost.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, LazyLock};

use minijinja::value::Serde;
use minijinja::{Environment, Error, UndefinedBehavior, Value as Jinja};

use super::value::{Table, TableCell, Value};

/// Instructions that one evaluation may take.
const FUEL: u64 = 200_000;
/// Longest expression or template, bytes.
const LONGEST: usize = 4096;
/// Longest text that a template may give, bytes.
pub(super) const LONGEST_TEXT: usize = 64 << 10;

static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = Environment::new();
    environment.set_fuel(Some(FUEL));
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment
});

/// An expression or a template that can be read.
#[derive(Clone)]
pub(super) struct Expression {
    source: Arc<str>,
    is_template: bool,
    /// Names that it uses.
    variables: Vec<String>,
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Expression({})", self.source)
    }
}

/// Reads an expression. The error is what is wrong, and what to do.
pub(super) fn expression(source: &str) -> Result<Expression, (String, String)> {
    check_length(source)?;
    let read = ENVIRONMENT.compile_expression(source).map_err(|error| unreadable(&error))?;
    Ok(Expression::new(source, false, read.undeclared_variables(false)))
}

/// Reads a template.
pub(super) fn template(source: &str) -> Result<Expression, (String, String)> {
    check_length(source)?;
    let read = ENVIRONMENT.template_from_str(source).map_err(|error| unreadable(&error))?;
    Ok(Expression::new(source, true, read.undeclared_variables(false)))
}

fn check_length(source: &str) -> Result<(), (String, String)> {
    if source.len() <= LONGEST {
        return Ok(());
    }
    let reason = format!("it has {} bytes", source.len());
    Err((reason, format!("at most {LONGEST} bytes are allowed")))
}

fn unreadable(error: &Error) -> (String, String) {
    let detail = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
    (format!("it cannot be read: {detail}"), "write it in the language of Jinja: objects | length > 2".to_owned())
}

impl Expression {
    fn new(source: &str, is_template: bool, variables: impl IntoIterator<Item = String>) -> Self {
        let mut variables: Vec<String> = variables.into_iter().collect();
        variables.sort_unstable();
        Self { source: source.into(), is_template, variables }
    }

    /// The names that it uses.
    pub(super) fn variables(&self) -> impl Iterator<Item = &str> {
        self.variables.iter().map(String::as_str)
    }

    /// The names that it uses and that are neither in `known` nor functions of the language.
    pub(super) fn unknown<'a>(&'a self, known: &'a [&str]) -> impl Iterator<Item = &'a str> {
        let is_function = |name: &str| ENVIRONMENT.globals().any(|(known, _)| known == name);
        self.variables.iter().map(String::as_str).filter(move |name| !known.contains(name) && !is_function(name))
    }

    fn evaluate(&self, values: &BTreeMap<&str, Jinja>) -> Result<Jinja, String> {
        let said = |error: Error| {
            let detail = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
            format!("{:?} cannot be computed: {detail}", &*self.source)
        };
        ENVIRONMENT.compile_expression(&self.source).and_then(|read| read.eval(values)).map_err(said)
    }

    /// What it comes to: a number or text. True is 1, false 0; a template gives text.
    pub(super) fn value(&self, values: &BTreeMap<&str, Jinja>) -> Result<Value, String> {
        if self.is_template {
            return self.render(values).map(Value::Text);
        }
        let value = self.evaluate(values)?;
        if let Some(text) = value.as_str() {
            return Ok(Value::Text(text.to_owned()));
        }
        let number = bool::try_from(value.clone()).map(f64::from).or_else(|_| f64::try_from(value.clone()));
        number
            .map(Value::Number)
            .map_err(|_| format!("{:?} comes to {value}, which is neither a number nor text", &*self.source))
    }

    /// Whether it holds.
    pub(super) fn holds(&self, values: &BTreeMap<&str, Jinja>) -> Result<bool, String> {
        Ok(self.evaluate(values)?.is_true())
    }

    /// The text of a template.
    pub(super) fn render(&self, values: &BTreeMap<&str, Jinja>) -> Result<String, String> {
        let text = ENVIRONMENT.render_str(&self.source, values).map_err(|error| {
            let detail = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
            format!("the template cannot be filled in: {detail}")
        })?;
        if text.len() > LONGEST_TEXT {
            return Err(format!("the template gives {} bytes of text, and {LONGEST_TEXT} are the most", text.len()));
        }
        Ok(text)
    }
}

/// A value as expressions see it.
pub(super) fn to_jinja(value: &Value) -> Jinja {
    match value {
        Value::Number(number) if number.fract() == 0.0 && number.abs() < 1e15 => Jinja::from(*number as i64),
        Value::Number(number) => Jinja::from(*number),
        Value::Text(text) => Jinja::from(text.as_str()),
        Value::Table(table) => rows(table),
        other => Jinja::from(Serde(other.to_json())),
    }
}

/// A table as expressions see it: a list of rows by name.
fn rows(table: &Table) -> Jinja {
    let row = |cells: &Vec<TableCell>| -> BTreeMap<String, Jinja> {
        let cell = |cell: &TableCell| match cell {
            TableCell::Number(number) => Jinja::from(*number),
            TableCell::Text(text) => Jinja::from(text.as_str()),
        };
        table.columns.iter().cloned().zip(cells.iter().map(cell)).collect()
    };
    table.rows.iter().map(|cells| Jinja::from(row(cells))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(source: &str) -> Result<f64, String> {
        let values = BTreeMap::from([("n", Jinja::from(3)), ("labels", ["cat", "dog"].into_iter().collect())]);
        match expression(source).map_err(|(reason, _)| reason)?.value(&values)? {
            Value::Number(number) => Ok(number),
            other => Err(format!("{other:?}")),
        }
    }

    #[test]
    fn expressions_compute_numbers_and_answers() {
        for (source, expected) in [("n + 1", 4.0), ("n > 2", 1.0), ("'dog' in labels", 1.0), ("labels | length", 2.0)] {
            assert_eq!(number(source), Ok(expected), "{source}");
        }
        assert!(number("labels").expect_err("a list").contains("neither a number nor text"));
        assert!(number("m + 1").expect_err("unknown").contains("cannot be computed"));
        assert!(number("n +").expect_err("unreadable").contains("cannot be read"));
    }

    #[test]
    fn one_that_never_ends_is_broken_off() {
        let endless = "{% for a in range(9999) %}{% for b in range(9999) %}{{ a }}{% endfor %}{% endfor %}";
        let broken = template(endless).expect("a template").render(&BTreeMap::new()).expect_err("too much");
        assert!(broken.contains("fuel"), "{broken}");
    }

    #[test]
    fn names_that_are_unknown_are_found() {
        let read = expression("n > m and range(2)").expect("an expression");
        assert_eq!(read.unknown(&["n"]).collect::<Vec<_>>(), ["m"]);
    }
}
