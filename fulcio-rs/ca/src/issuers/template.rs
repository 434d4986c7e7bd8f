//! Templates of `ci-issuer-metadata`: the part of Go's `text/template` that makes a text out of claims.
//!
//! Upstream hands these texts to Go's library; here they are parsed once, when the file is read, into a tree without loops, variables or
//! definitions, so that evaluating one takes no longer than it is long. What is read means what it means in Go: a field that no
//! claim and no default has is an error (`missingkey=error`), while `index . "name"` of such a name is empty. What is not read is
//! refused by name at the start, not when somebody signs. Known answers of Go's library are in `testdata/fulcio-issuers/templates.jsonl`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::iter::Peekable;

use thiserror::Error;

/// The longest template, in bytes.
const MAX_TEMPLATE: usize = 4096;
/// The longest text that one makes, in bytes: no extension may be longer.
const MAX_TEXT: usize = pki::ext::MAX_VALUE;
/// How deep conditions and parentheses go.
const MAX_DEPTH: usize = 16;

/// What templates are filled with: claims, and defaults for those that a token does not have.
pub type Values = BTreeMap<String, String>;

/// A text that is no template, or one that is not read here.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the template {template:?} {what}")]
pub struct SyntaxError {
    /// It, cut off.
    pub template: String,
    /// What is wrong with it.
    pub what: String,
}

/// Why a template has no answer for a token.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TemplateError {
    /// No claim and no default of this name.
    #[error("no claim and no default value {0:?}")]
    Missing(String),
    /// Something cannot be done with a value of its kind.
    #[error("a template cannot {0}")]
    Kind(&'static str),
    /// The text is too long.
    #[error("a template makes more than {MAX_TEXT} bytes")]
    TooLong,
}

/// How one value of a certificate is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(Form);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Form {
    /// Without `{{`: the name of a claim.
    Claim(String),
    /// A template proper.
    Nodes(Vec<Node>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Node {
    Text(String),
    Print(Expression),
    /// `if`: the first condition that holds; `with` also makes it the dot.
    Choice {
        with: bool,
        branches: Vec<(Expression, Vec<Node>)>,
        otherwise: Vec<Node>,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Expression {
    Text(String),
    Number(i64),
    Truth(bool),
    /// `.` and `.name`.
    Dot(Vec<String>),
    /// `$` and `$.name`: the values, also within `with`.
    Root(Vec<String>),
    Call(Function, Vec<Expression>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Function {
    And,
    Or,
    Not,
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    Index,
    Len,
    Slice,
    Print,
    Println,
    Printf,
    Html,
    Urlquery,
}

/// Name, and the fewest and the most arguments.
const FUNCTIONS: [(&str, Function, usize, usize); 17] = [
    ("and", Function::And, 1, usize::MAX),
    ("or", Function::Or, 1, usize::MAX),
    ("not", Function::Not, 1, 1),
    ("eq", Function::Eq, 2, usize::MAX),
    ("ne", Function::Ne, 2, 2),
    ("lt", Function::Lt, 2, 2),
    ("le", Function::Le, 2, 2),
    ("gt", Function::Gt, 2, 2),
    ("ge", Function::Ge, 2, 2),
    ("index", Function::Index, 2, 2),
    ("len", Function::Len, 1, 1),
    ("slice", Function::Slice, 1, 3),
    ("print", Function::Print, 0, usize::MAX),
    ("println", Function::Println, 0, usize::MAX),
    ("printf", Function::Printf, 1, usize::MAX),
    ("html", Function::Html, 1, usize::MAX),
    ("urlquery", Function::Urlquery, 1, usize::MAX),
];

/// Words that have a meaning in Go and none here.
const NOT_READ: [&str; 12] = [
    "range", "define", "template", "block", "break", "continue", "nil", "call", "js", "float",
    "iota", "func",
];

impl Template {
    /// Reads a template: a claim's name, or a text with actions in `{{` and `}}`.
    pub fn parse(text: &str) -> Result<Self, SyntaxError> {
        let wrong = |what: String| SyntaxError {
            template: text.chars().take(200).collect(),
            what,
        };
        if text.len() > MAX_TEMPLATE {
            return Err(wrong(format!("is longer than {MAX_TEMPLATE} bytes")));
        }
        if !text.contains("{{") {
            return Ok(Self(Form::Claim(text.to_owned())));
        }
        let mut pieces = pieces(text).map_err(wrong)?.into_iter().peekable();
        let nodes = nodes(&mut pieces, 0).map_err(wrong)?;
        match pieces.next() {
            None => Ok(Self(Form::Nodes(nodes))),
            Some(_) => Err(wrong("has an end or else that belongs to nothing".into())),
        }
    }

    /// The text for these values.
    pub fn evaluate(&self, values: &Values) -> Result<String, TemplateError> {
        match &self.0 {
            Form::Claim(name) => values
                .get(name)
                .cloned()
                .ok_or_else(|| TemplateError::Missing(name.clone())),
            Form::Nodes(nodes) => {
                let mut text = String::new();
                write_nodes(
                    nodes,
                    &Scope {
                        root: values,
                        dot: Value::Values,
                    },
                    &mut text,
                )?;
                Ok(text)
            }
        }
    }
}

// Reading.

/// A text between actions, or an action.
#[derive(Debug)]
enum Piece {
    Text(String),
    Action(Vec<Token>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Word {
    Name(String),
    Field(String),
    Dot,
    Dollar,
    Text(String),
    Number(i64),
    Pipe,
    Open,
    Close,
}

#[derive(Debug, Clone)]
struct Token {
    word: Word,
    /// Whether a space stands before it.
    spaced: bool,
}

fn pieces(template: &str) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut rest = template;
    let mut trim_next = false;
    loop {
        let (text, action) = match rest.split_once("{{") {
            Some((text, action)) => (text, Some(action)),
            None => (rest, None),
        };
        let mut text = if trim_next {
            text.trim_start_matches(is_space)
        } else {
            text
        };
        let Some(mut action) = action else {
            pieces.push(Piece::Text(text.to_owned()));
            return Ok(pieces);
        };
        if let Some(trimmed) = action
            .strip_prefix('-')
            .filter(|rest| rest.starts_with(is_space))
        {
            text = text.trim_end_matches(is_space);
            action = trimmed;
        }
        pieces.push(Piece::Text(text.to_owned()));
        let spaceless = action.trim_start_matches(is_space);
        if let Some(comment) = spaceless.strip_prefix("/*") {
            let (_, after) = comment
                .split_once("*/")
                .ok_or("has a comment without end")?;
            (trim_next, rest) =
                closing(after).ok_or("has a comment that is not alone in its action")?;
            continue;
        }
        let (tokens, trim, after) = tokens(action)?;
        pieces.push(Piece::Action(tokens));
        (trim_next, rest) = (trim, after);
    }
}

/// The end of an action: whether it trims what follows, and what that is.
fn closing(text: &str) -> Option<(bool, &str)> {
    if let Some(after) = text.strip_prefix("}}") {
        return Some((false, after));
    }
    let trimmed = text.trim_start_matches(is_space);
    (trimmed.len() < text.len())
        .then(|| trimmed.strip_prefix("-}}"))
        .flatten()
        .map(|after| (true, after))
}

const fn is_space(letter: char) -> bool {
    matches!(letter, ' ' | '\t' | '\r' | '\n')
}

fn is_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

/// The words of an action up to its end, whether the end trims, and what comes after it.
fn tokens(text: &str) -> Result<(Vec<Token>, bool, &str), String> {
    let mut tokens: Vec<Token> = Vec::new();
    let mut rest = text;
    loop {
        if let Some((trim, after)) = closing(rest) {
            return Ok((tokens, trim, after));
        }
        let start = rest.trim_start_matches(is_space);
        let spaced = start.len() < rest.len();
        if let Some(after) = start.strip_prefix("}}") {
            return Ok((tokens, false, after));
        }
        let first = start.chars().next().ok_or("has an action without }}")?;
        let (word, after) = match first {
            '|' | '(' | ')' => {
                let word = match first {
                    '|' => Word::Pipe,
                    '(' => Word::Open,
                    _ => Word::Close,
                };
                (word, start.get(1..).unwrap_or_default())
            }
            '"' => quoted(start)?,
            '`' => {
                let (raw, after) = start
                    .strip_prefix('`')
                    .and_then(|raw| raw.split_once('`'))
                    .ok_or("has a raw text without end")?;
                (Word::Text(raw.to_owned()), after)
            }
            '.' => {
                let (name, after) = name(start.get(1..).unwrap_or_default());
                if name.starts_with(|letter: char| letter.is_ascii_digit()) {
                    return Err("has a number with a point, which is not read".to_owned());
                }
                ends_well(after)?;
                let word = if name.is_empty() {
                    Word::Dot
                } else {
                    Word::Field(name.to_owned())
                };
                (word, after)
            }
            '$' => {
                let (name, after) = name(start.get(1..).unwrap_or_default());
                if !name.is_empty() {
                    return Err(format!("has a variable, ${name}, which is not read"));
                }
                ends_well(after)?;
                (Word::Dollar, after)
            }
            '0'..='9' | '-' | '+' => {
                let digits = start.get(1..).unwrap_or_default();
                let end = digits
                    .find(|letter: char| !is_word(letter))
                    .map_or(start.len(), |end| end.saturating_add(1));
                let (number, after) = start.split_at(end);
                // 010 is octal in Go.
                let plain = number.trim_start_matches(['-', '+']);
                if plain.len() > 1 && plain.starts_with('0') {
                    return Err(format!("has a number, {number}, that is not read"));
                }
                let number = number
                    .parse()
                    .map_err(|_| format!("has a number, {number}, that is not read"))?;
                ends_well(after)?;
                (Word::Number(number), after)
            }
            letter if is_word(letter) => {
                let (name, after) = name(start);
                ends_well(after)?;
                (Word::Name(name.to_owned()), after)
            }
            other => return Err(format!("has {other:?}, which is not read, in an action")),
        };
        tokens.push(Token { word, spaced });
        rest = after;
    }
}

fn name(text: &str) -> (&str, &str) {
    let end = text.find(|letter| !is_word(letter)).unwrap_or(text.len());
    text.split_at(end)
}

/// After a word something else must begin.
fn ends_well(after: &str) -> Result<(), String> {
    let well = after.is_empty()
        || after.starts_with("}}")
        || after.starts_with(|letter| is_space(letter) || ".|()".contains(letter));
    if well {
        Ok(())
    } else {
        Err(format!(
            "has {:?} in a name; write (index . \"name\") for names that are no words",
            after.chars().next().unwrap_or_default()
        ))
    }
}

/// A text in double quotes, with the escapes that JSON and Go have in common.
fn quoted(text: &str) -> Result<(Word, &str), String> {
    let mut value = String::new();
    let mut letters = text.char_indices().skip(1);
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => {
                let after = text.get(at.saturating_add(1)..).unwrap_or_default();
                return Ok((Word::Text(value), after));
            }
            '\\' => match letters.next().map(|(_, escaped)| escaped) {
                Some(escaped @ ('"' | '\\')) => value.push(escaped),
                Some('n') => value.push('\n'),
                Some('t') => value.push('\t'),
                Some('r') => value.push('\r'),
                _ => return Err("has an escape that is not read".to_owned()),
            },
            '\n' => break,
            _ => value.push(letter),
        }
    }
    Err("has a text without end".to_owned())
}

type Pieces = Peekable<std::vec::IntoIter<Piece>>;

/// The nodes up to the `else` or `end` that belongs to somebody above, which stays.
fn nodes(pieces: &mut Pieces, depth: usize) -> Result<Vec<Node>, String> {
    if depth > MAX_DEPTH {
        return Err(format!("is nested more than {MAX_DEPTH} deep"));
    }
    let mut nodes = Vec::new();
    while let Some(piece) = pieces.peek() {
        if let Piece::Action(tokens) = piece
            && ["else", "end"].iter().any(|word| is_name(tokens, word))
        {
            break;
        }
        match pieces.next() {
            Some(Piece::Text(text)) if text.is_empty() => {}
            Some(Piece::Text(text)) => nodes.push(Node::Text(text)),
            Some(Piece::Action(tokens)) => {
                let with = is_name(&tokens, "with");
                nodes.push(if with || is_name(&tokens, "if") {
                    choice(with, tokens.get(1..).unwrap_or_default(), pieces, depth)?
                } else {
                    Node::Print(whole(&tokens, depth)?)
                });
            }
            None => break,
        }
    }
    Ok(nodes)
}

fn is_name(tokens: &[Token], name: &str) -> bool {
    matches!(tokens.first(), Some(Token { word: Word::Name(found), .. }) if found == name)
}

fn choice(
    with: bool,
    condition: &[Token],
    pieces: &mut Pieces,
    depth: usize,
) -> Result<Node, String> {
    let inner = depth.saturating_add(1);
    let mut branches = vec![(whole(condition, depth)?, nodes(pieces, inner)?)];
    let mut otherwise = None;
    loop {
        let Some(Piece::Action(tokens)) = pieces.next() else {
            return Err("has an if or with without end".to_owned());
        };
        let (first, rest) = tokens.split_first().ok_or("has an empty action")?;
        match (&first.word, rest) {
            (Word::Name(word), []) if word == "end" => break,
            (Word::Name(word), []) if word == "else" && otherwise.is_none() => {
                otherwise = Some(nodes(pieces, inner)?);
            }
            (Word::Name(word), rest) if word == "else" && otherwise.is_none() && !with => {
                if !is_name(rest, "if") {
                    return Err("has an else that is followed by something but if".to_owned());
                }
                let condition = whole(rest.get(1..).unwrap_or_default(), depth)?;
                branches.push((condition, nodes(pieces, inner)?));
            }
            _ => return Err("has an else or end that does not belong there".to_owned()),
        }
    }
    Ok(Node::Choice {
        with,
        branches,
        otherwise: otherwise.unwrap_or_default(),
    })
}

fn whole(tokens: &[Token], depth: usize) -> Result<Expression, String> {
    let mut tokens = tokens.iter().peekable();
    let expression = pipeline(&mut tokens, depth)?;
    match tokens.next() {
        None => Ok(expression),
        Some(_) => Err("has a parenthesis that belongs to nothing".to_owned()),
    }
}

type Tokens<'a> = Peekable<std::slice::Iter<'a, Token>>;

/// Commands with `|` between them: each gets the one before as its last argument.
fn pipeline(tokens: &mut Tokens<'_>, depth: usize) -> Result<Expression, String> {
    if depth > MAX_DEPTH {
        return Err(format!("is nested more than {MAX_DEPTH} deep"));
    }
    let mut value = command(tokens, None, depth)?;
    while tokens.next_if(|token| token.word == Word::Pipe).is_some() {
        value = command(tokens, Some(value), depth)?;
    }
    Ok(value)
}

fn command(
    tokens: &mut Tokens<'_>,
    piped: Option<Expression>,
    depth: usize,
) -> Result<Expression, String> {
    let function = match tokens.peek() {
        Some(Token {
            word: Word::Name(name),
            ..
        }) if !["true", "false"].contains(&name.as_str()) => {
            let known = FUNCTIONS.iter().find(|row| row.0 == name);
            Some(*known.ok_or_else(|| {
                if NOT_READ.contains(&name.as_str()) {
                    format!("has {name}, which is not read here")
                } else {
                    format!("has {name}, which is no function")
                }
            })?)
        }
        _ => None,
    };
    let Some((name, function, fewest, most)) = function else {
        let value = operand(tokens, depth)?.ok_or("has nothing where a value is expected")?;
        return match (tokens.peek(), piped) {
            (
                None
                | Some(Token {
                    word: Word::Pipe | Word::Close,
                    ..
                }),
                None,
            ) => Ok(value),
            (_, Some(_)) => Err("hands a value on to something that is no function".to_owned()),
            _ => Err("has two values side by side".to_owned()),
        };
    };
    tokens.next();
    let mut arguments = Vec::new();
    loop {
        match tokens.peek() {
            None
            | Some(Token {
                word: Word::Pipe | Word::Close,
                ..
            }) => break,
            Some(token) if !token.spaced => {
                return Err("has two values without a space between them".to_owned());
            }
            Some(_) => {}
        }
        arguments.extend(operand(tokens, depth)?);
    }
    arguments.extend(piped);
    if arguments.len() < fewest || arguments.len() > most {
        return Err(format!("gives {name} {} arguments", arguments.len()));
    }
    if function == Function::Printf
        && let Some(Expression::Text(format)) = arguments.first()
    {
        verbs(format).ok_or("has a printf with something but %s, %v, %d, %t and %%")?;
    }
    Ok(Expression::Call(function, arguments))
}

fn operand(tokens: &mut Tokens<'_>, depth: usize) -> Result<Option<Expression>, String> {
    let Some(token) = tokens.next() else {
        return Ok(None);
    };
    Ok(Some(match &token.word {
        Word::Text(text) => Expression::Text(text.clone()),
        Word::Number(number) => Expression::Number(*number),
        Word::Name(name) if name == "true" || name == "false" => Expression::Truth(name == "true"),
        Word::Name(name) => {
            return Err(format!(
                "has {name} among the arguments: put a call in parentheses"
            ));
        }
        Word::Dot => Expression::Dot(Vec::new()),
        Word::Field(name) => {
            let mut names = vec![name.clone()];
            names.extend(fields(tokens));
            Expression::Dot(names)
        }
        Word::Dollar => Expression::Root(fields(tokens)),
        Word::Open => {
            let value = pipeline(tokens, depth.saturating_add(1))?;
            if tokens.next().map(|token| &token.word) != Some(&Word::Close) {
                return Err("has a parenthesis without end".to_owned());
            }
            if matches!(
                tokens.peek(),
                Some(Token {
                    word: Word::Field(_),
                    spaced: false
                })
            ) {
                return Err("has a field of something in parentheses, which is not read".to_owned());
            }
            value
        }
        Word::Pipe | Word::Close => {
            return Err("has nothing where a value is expected".to_owned());
        }
    }))
}

/// The `.name.name` that touch what stands before them.
fn fields(tokens: &mut Tokens<'_>) -> Vec<String> {
    let mut names = Vec::new();
    while let Some(Token {
        word: Word::Field(name),
        spaced: false,
    }) = tokens.peek()
    {
        names.push(name.clone());
        tokens.next();
    }
    names
}

// Evaluating.

#[derive(Debug, Clone, PartialEq, Eq)]
enum Value {
    Text(String),
    Number(i64),
    Truth(bool),
    /// All the values.
    Values,
}

struct Scope<'a> {
    root: &'a Values,
    dot: Value,
}

fn write_nodes(nodes: &[Node], scope: &Scope<'_>, text: &mut String) -> Result<(), TemplateError> {
    for node in nodes {
        match node {
            Node::Text(piece) => text.push_str(piece),
            Node::Print(expression) => text.push_str(&scope.value(expression)?.shown()?),
            Node::Choice {
                with,
                branches,
                otherwise,
            } => {
                let mut chosen = None;
                for (condition, nodes) in branches {
                    let value = scope.value(condition)?;
                    if value.holds(scope.root) {
                        chosen = Some((value, nodes));
                        break;
                    }
                }
                match chosen {
                    Some((dot, nodes)) if *with => {
                        let root = scope.root;
                        write_nodes(nodes, &Scope { root, dot }, text)?;
                    }
                    Some((_, nodes)) => write_nodes(nodes, scope, text)?,
                    None => write_nodes(otherwise, scope, text)?,
                }
            }
        }
        if text.len() > MAX_TEXT {
            return Err(TemplateError::TooLong);
        }
    }
    Ok(())
}

impl Scope<'_> {
    fn value(&self, expression: &Expression) -> Result<Value, TemplateError> {
        match expression {
            Expression::Text(text) => Ok(Value::Text(text.clone())),
            Expression::Number(number) => Ok(Value::Number(*number)),
            Expression::Truth(truth) => Ok(Value::Truth(*truth)),
            Expression::Dot(names) => self.field(&self.dot, names),
            Expression::Root(names) => self.field(&Value::Values, names),
            Expression::Call(function, arguments) => self.call(*function, arguments),
        }
    }

    fn field(&self, of: &Value, names: &[String]) -> Result<Value, TemplateError> {
        match (of, names) {
            (value, []) => Ok(value.clone()),
            (Value::Values, [name]) => {
                let found = self.root.get(name);
                let found = found.ok_or_else(|| TemplateError::Missing(name.clone()))?;
                Ok(Value::Text(found.clone()))
            }
            _ => Err(TemplateError::Kind("take a field of a text")),
        }
    }

    fn call(&self, function: Function, arguments: &[Expression]) -> Result<Value, TemplateError> {
        // These two stop at the first argument that decides.
        if let Function::And | Function::Or = function {
            let mut last = Value::Truth(false);
            for argument in arguments {
                last = self.value(argument)?;
                if last.holds(self.root) == (function == Function::Or) {
                    break;
                }
            }
            return Ok(last);
        }
        let values: Vec<Value> = arguments
            .iter()
            .map(|argument| self.value(argument))
            .collect::<Result<_, _>>()?;
        let too_few = TemplateError::Kind("call a function with these arguments");
        match (function, values.as_slice()) {
            (Function::Not, [value]) => Ok(Value::Truth(!value.holds(self.root))),
            (Function::Eq, [first, others @ ..]) => {
                for other in others {
                    if first.compare(other)?.is_eq() {
                        return Ok(Value::Truth(true));
                    }
                }
                Ok(Value::Truth(false))
            }
            (Function::Ne, [a, b]) => Ok(Value::Truth(a.compare(b)?.is_ne())),
            (Function::Lt, [a, b]) => Ok(Value::Truth(a.order(b)?.is_lt())),
            (Function::Le, [a, b]) => Ok(Value::Truth(a.order(b)?.is_le())),
            (Function::Gt, [a, b]) => Ok(Value::Truth(a.order(b)?.is_gt())),
            (Function::Ge, [a, b]) => Ok(Value::Truth(a.order(b)?.is_ge())),
            // Not the error that a field is: Go gives the empty text for a name that a map does not have.
            (Function::Index, [Value::Values, Value::Text(name)]) => Ok(Value::Text(
                self.root.get(name).cloned().unwrap_or_default(),
            )),
            (Function::Index, _) => Err(TemplateError::Kind("index anything but . by a name")),
            (Function::Len, [Value::Text(text)]) => Ok(number(text.len())),
            (Function::Len, [Value::Values]) => Ok(number(self.root.len())),
            (Function::Len, _) => Err(TemplateError::Kind("take the length of a number")),
            (Function::Slice, [Value::Text(text), bounds @ ..]) => slice(text, bounds),
            (Function::Slice, _) => Err(TemplateError::Kind("slice anything but a text")),
            (Function::Print | Function::Html | Function::Urlquery, values) => {
                let text = spaced(values)?;
                Ok(Value::Text(match function {
                    Function::Html => html(&text),
                    Function::Urlquery => query(&text),
                    _ => text,
                }))
            }
            (Function::Println, values) => {
                let shown: Vec<String> =
                    values.iter().map(Value::shown).collect::<Result<_, _>>()?;
                Ok(Value::Text(format!("{}\n", shown.join(" "))))
            }
            (Function::Printf, [Value::Text(format), values @ ..]) => printf(format, values),
            _ => Err(too_few),
        }
        .and_then(|value| match value {
            Value::Text(text) if text.len() > MAX_TEXT => Err(TemplateError::TooLong),
            value => Ok(value),
        })
    }
}

fn number(size: usize) -> Value {
    Value::Number(i64::try_from(size).unwrap_or(i64::MAX))
}

impl Value {
    fn holds(&self, root: &Values) -> bool {
        match self {
            Self::Text(text) => !text.is_empty(),
            Self::Number(number) => *number != 0,
            Self::Truth(truth) => *truth,
            Self::Values => !root.is_empty(),
        }
    }

    fn shown(&self) -> Result<String, TemplateError> {
        match self {
            Self::Text(text) => Ok(text.clone()),
            Self::Number(number) => Ok(number.to_string()),
            Self::Truth(truth) => Ok(truth.to_string()),
            Self::Values => Err(TemplateError::Kind("write all the claims at once")),
        }
    }

    fn compare(&self, other: &Self) -> Result<std::cmp::Ordering, TemplateError> {
        match (self, other) {
            (Self::Text(a), Self::Text(b)) => Ok(a.cmp(b)),
            (Self::Number(a), Self::Number(b)) => Ok(a.cmp(b)),
            (Self::Truth(a), Self::Truth(b)) => Ok(a.cmp(b)),
            _ => Err(TemplateError::Kind("compare values of different kinds")),
        }
    }

    fn order(&self, other: &Self) -> Result<std::cmp::Ordering, TemplateError> {
        if let Self::Truth(_) = self {
            return Err(TemplateError::Kind("say which truth value is larger"));
        }
        self.compare(other)
    }
}

fn slice(text: &str, bounds: &[Value]) -> Result<Value, TemplateError> {
    let bound = |position: usize, default: usize| match bounds.get(position) {
        None => Some(default),
        Some(Value::Number(number)) => usize::try_from(*number).ok(),
        Some(_) => None,
    };
    let piece = bound(0, 0)
        .zip(bound(1, text.len()))
        .and_then(|(from, to)| text.get(from..to));
    let piece = piece.ok_or(TemplateError::Kind("slice a text there"))?;
    Ok(Value::Text(piece.to_owned()))
}

/// Go's `fmt.Sprint`: a space between two values neither of which is a text.
fn spaced(values: &[Value]) -> Result<String, TemplateError> {
    let mut text = String::new();
    let mut before: Option<&Value> = None;
    for value in values {
        let texts = [before, Some(value)]
            .iter()
            .any(|value| matches!(value, Some(Value::Text(_))));
        if before.is_some() && !texts {
            text.push(' ');
        }
        text.push_str(&value.shown()?);
        before = Some(value);
    }
    Ok(text)
}

/// The pieces of a format: texts, and verbs without flags.
fn verbs(format: &str) -> Option<Vec<Result<char, String>>> {
    let mut pieces = Vec::new();
    let mut letters = format.chars();
    let mut text = String::new();
    while let Some(letter) = letters.next() {
        if letter != '%' {
            text.push(letter);
            continue;
        }
        match letters.next()? {
            '%' => text.push('%'),
            verb @ ('s' | 'v' | 'd' | 't') => {
                pieces.push(Err(std::mem::take(&mut text)));
                pieces.push(Ok(verb));
            }
            _ => return None,
        }
    }
    pieces.push(Err(text));
    Some(pieces)
}

fn printf(format: &str, values: &[Value]) -> Result<Value, TemplateError> {
    let wrong = || TemplateError::Kind("print these values in this format");
    let mut values = values.iter();
    let mut text = String::new();
    for piece in verbs(format).ok_or_else(wrong)? {
        let verb = match piece {
            Err(piece) => {
                text.push_str(&piece);
                continue;
            }
            Ok(verb) => verb,
        };
        let value = values.next().ok_or_else(wrong)?;
        let fits = match value {
            Value::Text(_) => "sv",
            Value::Number(_) => "dv",
            Value::Truth(_) => "tv",
            Value::Values => "",
        };
        if !fits.contains(verb) {
            return Err(wrong());
        }
        text.push_str(&value.shown()?);
    }
    match values.next() {
        None => Ok(Value::Text(text)),
        Some(_) => Err(wrong()),
    }
}

fn html(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '"' => escaped.push_str("&#34;"),
            '\'' => escaped.push_str("&#39;"),
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '\0' => escaped.push('\u{fffd}'),
            other => escaped.push(other),
        }
    }
    escaped
}

fn query(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            escaped.push(char::from(byte));
        } else if byte == b' ' {
            escaped.push('+');
        } else {
            // Writing to a String cannot fail.
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde::Deserialize;

    fn testdata(name: &str) -> String {
        let folder = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../testdata/fulcio-issuers/"
        );
        std::fs::read_to_string(format!("{folder}{name}")).unwrap()
    }

    #[derive(Deserialize)]
    struct Case {
        template: String,
        /// What Go makes of it.
        text: Option<String>,
        /// Or where Go fails: `syntax` when it reads, `value` when it fills.
        error: Option<String>,
        /// Go reads it and we do not, or we say so earlier.
        #[serde(default)]
        unread: bool,
    }

    #[test]
    fn templates_mean_what_they_mean_in_go() {
        let values: Values = serde_json::from_str(&testdata("template-values.json")).unwrap();
        let (mut read, mut unread) = (0, 0);
        for line in testdata("templates.jsonl").lines() {
            let case: Case = serde_json::from_str(line).unwrap();
            let template = Template::parse(&case.template);
            let Ok(template) = template else {
                let text = template.unwrap_err();
                // Arguments that never fit Go finds out only when it fills the template.
                assert!(case.unread || case.error.is_some(), "{text}");
                unread += 1;
                continue;
            };
            let text = template.evaluate(&values);
            match (text, case.unread) {
                (Ok(text), false) => assert_eq!(Some(text), case.text, "{}", case.template),
                (Err(error), false) => {
                    assert_eq!(
                        case.error.as_deref(),
                        Some("value"),
                        "{} {error}",
                        case.template
                    );
                }
                (text, true) => assert!(text.is_err(), "{} is read after all", case.template),
            }
            read += 1;
        }
        assert!(read > 100 && unread > 30, "{read} {unread}");
    }

    #[test]
    fn what_is_not_read_is_refused_by_name() {
        for (template, what) in [
            ("{{range .}}{{end}}", "range"),
            ("{{$x := .a}}", "variable, $x"),
            ("{{nope .a}}", "no function"),
            ("{{.a-b}}", "(index . \"name\")"),
            ("{{if .a}}", "without end"),
            ("{{.a", "without }}"),
            ("{{printf \"%x\" .a}}", "printf"),
        ] {
            let error = Template::parse(template).unwrap_err();
            assert!(error.to_string().contains(what), "{error}");
        }
        assert!(Template::parse(&"x".repeat(5000)).is_err());
        let deep = format!("{{{{{}.a{}}}}}", "(".repeat(100), ")".repeat(100));
        assert!(Template::parse(&deep).is_err());
        assert!(Template::parse(&"{{if .a}}".repeat(400)).is_err());
    }

    #[test]
    fn a_text_has_an_end() {
        let values = Values::from([("a".to_owned(), "x".repeat(1000))]);
        let evaluate = |text: &str| Template::parse(text).unwrap().evaluate(&values);
        assert_eq!(evaluate(&"{{.a}}".repeat(5)), Err(TemplateError::TooLong));
        assert_eq!(
            evaluate("{{print .a .a .a .a .a | len}}"),
            Err(TemplateError::TooLong)
        );
        assert_eq!(evaluate("{{.b}}"), Err(TemplateError::Missing("b".into())));
        assert_eq!(evaluate("b"), Err(TemplateError::Missing("b".into())));
    }

    /// A piece of a template, and what it makes: the naive model.
    fn piece() -> impl Strategy<Value = (String, String)> {
        let text = "[a-z :/{}.]{0,6}".prop_filter("no action", |text| !text.contains("{{"));
        let literal = "[a-z \\\\\"]{0,4}".prop_map(|text| {
            let quoted = text.replace('\\', "\\\\").replace('"', "\\\"");
            (format!("{{{{\"{quoted}\"}}}}"), text)
        });
        prop_oneof![
            text.prop_map(|text| (text.clone(), text)),
            literal,
            Just(("{{.one}}".to_owned(), "1".to_owned())),
            Just(("{{ index . \"a/b.c\" }}".to_owned(), "2".to_owned())),
            ("[12]", "[a-z]{0,3}", "[a-z]{0,3}").prop_map(|(value, then, otherwise)| {
                let text = if value == "1" {
                    then.clone()
                } else {
                    otherwise.clone()
                };
                (
                    format!(
                        "{{{{if eq .one \"{value}\"}}}}{then}{{{{else}}}}{otherwise}{{{{end}}}}"
                    ),
                    text,
                )
            }),
        ]
    }

    proptest! {
        #[test]
        fn pieces_stand_one_behind_the_other(pieces in prop::collection::vec(piece(), 1..8)) {
            // A brace at the end of a text must not join the ones behind it.
            let template: Vec<&str> = pieces.iter().map(|piece| piece.0.as_str()).collect();
            let template = format!("{{{{\"\"}}}}{}", template.join("{{/**/}}"));
            prop_assume!(!template.contains("{{{"));
            let text: String = pieces.iter().map(|piece| piece.1.as_str()).collect();
            let values = Values::from([("one".into(), "1".into()), ("a/b.c".into(), "2".into())]);
            prop_assert_eq!(Template::parse(&template).unwrap().evaluate(&values), Ok(text));
        }

        #[test]
        fn no_text_makes_it_fail_otherwise(text in "(\\{\\{|\\}\\}|if|else|end|eq|\\.a|\\(|\\)|\\||\"|`| |-|[^ ]){0,24}") {
            if let Ok(template) = Template::parse(&text) {
                let _ = template.evaluate(&Values::from([("a".into(), "x".into())]));
            }
        }
    }
}
