//! What an answer may say: constraints that are held to token by token.
//!
//! A grammar names the tokens that may come next; the others are out before one is drawn, whatever
//! temperature, penalties and biases say. Its costs are counted in steps, not in seconds, so that the
//! same request is constrained in the same way on every machine.
//!
//! The grammar library copies what it is given; its copies are freed, not wiped.

use core::fmt;
use std::sync::{Arc, OnceLock};

use llguidance::api::{ParserLimits, TopLevelGrammar};
use llguidance::toktrie::{ApproximateTokEnv, TokEnv, TokRxInfo, TokTrie};
use llguidance::{Matcher, ParserFactory};

use crate::api::{EngineError, Format};
use crate::schema;
use crate::tokenizer::Tokenizer;
use crate::tools::{self, Tools};

/// Makes grammars for one vocabulary.
pub(crate) struct Grammars {
    tokenizer: Arc<Tokenizer>,
    /// Made when it is first needed; none if the vocabulary has no token to end with.
    factory: OnceLock<Option<ParserFactory>>,
}

impl Grammars {
    pub(crate) const fn new(tokenizer: Arc<Tokenizer>) -> Self {
        Self { tokenizer, factory: OnceLock::new() }
    }

    /// The constraint that keeps an answer to `format`; none for free text.
    pub(crate) fn of_format(&self, format: &Format) -> Result<Option<Constraint>, EngineError> {
        let bad = |why| EngineError::BadRequest { field: FORMAT, why };
        let source = match format {
            Format::Text => return Ok(None),
            Format::Object => value_rule(r#"{"type":"object"}"#).map_err(bad)?,
            Format::Schema(schema) => value_rule(schema.expose()).map_err(bad)?,
        };
        self.compile(format!("start: {source}"), FORMAT).map(Some)
    }

    /// What an answer that may call functions is held to, and from when on.
    pub(crate) fn of_tools(
        &self,
        format: &Format,
        tools: &Tools,
    ) -> Result<Option<Held>, EngineError> {
        let callable = tools.callable();
        if callable.is_empty() {
            return Ok(self.of_format(format)?.map(Held::Always));
        }
        let bad = |why| EngineError::BadRequest { field: TOOLS, why };
        let mut rules = Vec::new();
        let mut names = Vec::new();
        for (number, tool) in callable.iter().enumerate() {
            let (head, tail) =
                (quoted(&[tools::NAME, &tool.name, tools::ARGUMENTS]), quoted(&[tools::CLOSE]));
            let arguments = arguments_rule(tool.parameters.expose()).map_err(bad)?;
            rules.push(format!("c{number}: {head} {arguments} {tail}\n"));
            names.push(format!("c{number}"));
        }
        let calls = if tools.parallel {
            let more = tools::CALLS_MAX.saturating_sub(1);
            format!("call ({} call){{0,{more}}}", quoted(&["\n", tools::OPEN, "\n"]))
        } else {
            String::from("call")
        };
        rules.push(format!("call: {}\n", names.join(" | ")));
        let rules = rules.concat();
        let open = quoted(&[tools::OPEN, "\n"]);
        let start = match (tools.forced(), format) {
            (true, _) => format!("start: {open} {calls}\n"),
            (false, Format::Text) => {
                let source = format!("start: {} {calls}\n{rules}", quoted(&["\n"]));
                return self.compile(source, TOOLS).map(|later| Some(Held::OnceOpened(later)));
            }
            (false, Format::Object) => {
                let value = value_rule(r#"{"type":"object"}"#).map_err(bad)?;
                format!("start: value | {open} {calls}\nvalue: {value}\n")
            }
            (false, Format::Schema(schema)) => {
                let bad = |why| EngineError::BadRequest { field: FORMAT, why };
                let value = value_rule(schema.expose()).map_err(bad)?;
                format!("start: value | {open} {calls}\nvalue: {value}\n")
            }
        };
        self.compile(format!("{start}{rules}"), TOOLS).map(|always| Some(Held::Always(always)))
    }

    fn compile(&self, source: String, field: &'static str) -> Result<Constraint, EngineError> {
        let bad = |why| EngineError::BadRequest { field, why };
        let factory = self.factory.get_or_init(|| factory(&self.tokenizer)).as_ref();
        let factory =
            factory.ok_or(bad("cannot be held to: the model has no token to end with"))?;
        // The library walks what it compiles by recursion: it gets the stack that the limits need.
        let parser = std::thread::scope(|scope| {
            std::thread::Builder::new()
                .name(String::from("engine-grammar"))
                .stack_size(STACK)
                .spawn_scoped(scope, || factory.create_parser(TopLevelGrammar::from_lark(source)))
                .ok()?
                .join()
                .ok()?
                .ok()
        });
        let parser = parser
            .ok_or(bad("has a schema that cannot be enforced, or only at too great a cost"))?;
        let mut matcher = Matcher::new(Ok(parser));
        if matcher.is_error() || matcher.is_stopped() || matcher.compute_mask().is_err() {
            return Err(bad("has a schema that nothing fulfils, or that costs too much"));
        }
        Ok(Constraint { matcher, field })
    }
}

impl fmt::Debug for Grammars {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Grammars(..)")
    }
}

/// The rule for a value that fulfils a schema.
fn value_rule(schema: &str) -> Result<String, schema::Refused> {
    Ok(format!("%json {}", schema::prepare(schema)?))
}

/// The rule for arguments, which are an object whatever their schema says.
fn arguments_rule(schema: &str) -> Result<String, schema::Refused> {
    let mut schema = schema::prepare(schema)?;
    if let Some(keywords) = schema.as_object_mut() {
        match keywords.get("type") {
            None => drop(keywords.insert("type".to_owned(), "object".into())),
            Some(kind) if kind == "object" => {}
            Some(_) => return Err("must have parameters of type `object`"),
        }
    }
    Ok(format!("%json {schema}"))
}

/// A literal of the grammar's language.
fn quoted(parts: &[&str]) -> String {
    serde_json::Value::String(parts.concat()).to_string()
}

fn factory(tokenizer: &Tokenizer) -> Option<ParserFactory> {
    let size = u32::try_from(tokenizer.vocabulary()).ok()?;
    let end = (0..size).find(|token| tokenizer.is_end(*token))?;
    let words: Vec<Vec<u8>> = (0..size)
        .map(|token| match tokenizer.control(token) {
            // An octet that is in no text tells control tokens from their names.
            Some(name) => [&[TokTrie::SPECIAL_TOKEN_MARKER], name.as_bytes()].concat(),
            None if tokenizer.is_end(token) => vec![TokTrie::SPECIAL_TOKEN_MARKER, b'e'],
            None => tokenizer.bytes(token).to_vec(),
        })
        .collect();
    let trie = TokTrie::from(&TokRxInfo::new(size, end), &words);
    let env: TokEnv = Arc::new(ApproximateTokEnv::new(trie));
    let mut factory = ParserFactory::new_simple(&env).ok()?;
    factory.quiet();
    *factory.limits_mut() = LIMITS;
    Some(factory)
}

/// What one answer is held to.
pub(crate) struct Constraint {
    matcher: Matcher,
    /// The field of the request that wants it.
    field: &'static str,
}

/// From when on an answer is held to a constraint.
#[derive(Debug)]
pub(crate) enum Held {
    /// From its first token on.
    Always(Constraint),
    /// Once it has opened a call.
    OnceOpened(Constraint),
}

/// Where an answer stands after a token.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum After {
    /// More must or may follow.
    Open,
    /// Nothing can follow.
    Complete,
}

impl Constraint {
    /// Makes impossible what must not come next.
    pub(crate) fn mask(
        &mut self,
        logits: &mut [f32],
        tokenizer: &Tokenizer,
    ) -> Result<(), EngineError> {
        let mask = self.matcher.compute_mask().map_err(|_| self.costly())?;
        let may_end = self.matcher.is_accepting().map_err(|_| self.costly())?;
        for (logit, token) in logits.iter_mut().zip(0_u32..) {
            let ends = tokenizer.is_end(token);
            let allowed =
                if ends { may_end } else { mask.get(usize::try_from(token).unwrap_or(0)) };
            if !allowed {
                *logit = f32::NEG_INFINITY;
            }
        }
        Ok(())
    }

    /// Takes a token that the mask allowed and that ends nothing.
    pub(crate) fn take(&mut self, token: u32) -> Result<After, EngineError> {
        self.matcher.consume_token(token).map_err(|_| self.costly())?;
        match (self.matcher.is_stopped(), self.matcher.stop_reason().is_ok()) {
            (false, _) => Ok(After::Open),
            (true, true) => Ok(After::Complete),
            (true, false) => Err(self.costly()),
        }
    }

    const fn costly(&self) -> EngineError {
        let why = "became too costly to hold to";
        EngineError::BadRequest { field: self.field, why }
    }
}

impl fmt::Debug for Constraint {
    /// Shows nothing of the answer.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Constraint(..)")
    }
}

const FORMAT: &str = "response_format";
const TOOLS: &str = "tools";
/// What a grammar may cost, when it is made and at each step.
const LIMITS: ParserLimits = ParserLimits {
    max_items_in_row: 2000,
    initial_lexer_fuel: 1_000_000,
    step_lexer_fuel: 200_000,
    step_max_items: 50_000,
    max_lexer_states: 50_000,
    max_grammar_size: 200_000,
    precompute_large_lexemes: false,
    verbose_errors: false,
};
/// Stack for schemas that nest as deep as they may.
const STACK: usize = 16 << 20;
