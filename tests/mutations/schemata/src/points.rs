//! Where code can be mutated, and how: decisions, comparisons, statements, arms, bodies, arithmetic.
//!
//! Every mutant leaves the code as it is unless it is alive, so that all of them are compiled at once. What does not
//! compile is dropped afterwards: types are not known here.

use core::ops::Range;

use proc_macro2::Span;
use quote::ToTokens;
use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};
use syn::{BinOp, Block, Expr, ReturnType, Signature, Stmt, Type};

use crate::weave::Point;

/// The mutants of a file with the text `source`.
///
/// # Errors
/// The text is no Rust.
pub fn of(source: &str) -> syn::Result<Vec<Point>> {
    let file = syn::parse_file(source)?;
    let mut found = Finder { functions: Vec::new(), returns: Returns::Other, points: Vec::new() };
    found.visit_file(&file);
    Ok(found.points)
}

struct Finder {
    functions: Vec<String>,
    returns: Returns,
    points: Vec<Point>,
}

/// What the function, or the closure, that is looked at returns.
#[derive(Clone, Copy, PartialEq)]
enum Returns {
    Nothing,
    Bool,
    Other,
}

impl Finder {
    fn point(&mut self, at: Span, wraps: Range<usize>, what: String, before: &str, after: &str) {
        let start = at.start();
        let function = self.functions.join("::");
        let at = (start.line, start.column.saturating_add(1));
        let around = [before.to_owned(), after.to_owned()];
        self.points.push(Point::new(at, &function, what, wraps, around));
    }

    /// `mutated` instead of `expr`.
    fn instead(&mut self, expr: &Expr, mutated: &str) {
        let what = format!("{} becomes {}", text(expr), short(mutated));
        let before = format!("(if {{m}} {{ {mutated} }} else {{ ");
        self.point(expr.span(), expr.span().byte_range(), what, &before, " })");
    }

    fn forced(&mut self, expr: &Expr, value: bool) {
        if matches!(expr, Expr::Lit(_)) && text(expr) == value.to_string() {
            return;
        }
        let what = format!("{} is {value}", text(expr));
        let before = if value { "({m} || (" } else { "(!{m} && (" };
        self.point(expr.span(), expr.span().byte_range(), what, before, "))");
    }

    /// Something that decides. `whole`: it is not a part of another decision, whose mutants are these already.
    fn decision(&mut self, expr: &Expr, whole: bool) {
        if whole && !has_let(expr) {
            self.forced(expr, true);
            self.forced(expr, false);
        }
        match expr {
            Expr::Paren(inner) => self.decision(&inner.expr, false),
            Expr::Binary(binary) if matches!(binary.op, BinOp::And(_) | BinOp::Or(_)) => {
                let is_and = matches!(binary.op, BinOp::And(_));
                for operand in [&*binary.left, &*binary.right] {
                    let same = matches!(operand, Expr::Binary(inner)
                        if matches!((&inner.op, is_and), (BinOp::And(_), true) | (BinOp::Or(_), false)));
                    if !same && !has_let(operand) {
                        self.forced(operand, is_and);
                    }
                    self.decision(operand, false);
                }
            }
            Expr::Unary(unary) if matches!(unary.op, syn::UnOp::Not(_)) => {
                self.decision(&unary.expr, false);
            }
            Expr::Let(found) => self.visit_expr(&found.expr),
            // The body of a closure, say.
            Expr::Block(block) => self.statements(&block.block, true),
            Expr::If(_) | Expr::Match(_) | Expr::Return(_) | Expr::Closure(_) => {
                self.visit_expr(expr);
            }
            Expr::MethodCall(call) => self.method(expr, call, false),
            _ => {
                self.parts(expr);
                self.boundary(expr);
            }
        }
    }

    /// The other comparisons that `<` and the like could be.
    fn boundary(&mut self, expr: &Expr) {
        let Expr::Binary(binary) = expr else { return };
        let other = match binary.op {
            BinOp::Lt(_) => "<=",
            BinOp::Le(_) => "<",
            BinOp::Gt(_) => ">=",
            BinOp::Ge(_) => ">",
            _ => return,
        };
        self.instead(expr, &with_operator(binary, other));
    }

    /// What is inside of `expr`, and not `expr` itself.
    fn parts(&mut self, expr: &Expr) {
        visit::visit_expr(self, expr);
    }

    /// A block's statements; what it yields is a decision where `decides`.
    fn statements(&mut self, block: &Block, decides: bool) {
        let last = block.stmts.len().saturating_sub(1);
        for (index, stmt) in block.stmts.iter().enumerate() {
            match stmt {
                Stmt::Expr(expr, None) if decides && index == last => self.decision(expr, false),
                Stmt::Expr(expr, end) => {
                    if end.is_some() && is_deletable(expr) || is_loop(expr) {
                        self.deleted(stmt.span(), stmt.span().byte_range(), &text(expr));
                    }
                    if end.is_some() || index < last {
                        self.yields_nothing(expr);
                    }
                    self.visit_expr(expr);
                }
                Stmt::Local(_) | Stmt::Macro(_) | Stmt::Item(_) => self.visit_stmt(stmt),
            }
        }
    }

    fn deleted(&mut self, at: Span, wraps: Range<usize>, code: &str) {
        self.point(at, wraps, format!("without {}", short(code)), "if !{m} { ", " }");
    }

    /// An expression that yields nothing, by where it stands: what it ends with can be left out.
    fn yields_nothing(&mut self, expr: &Expr) {
        match expr {
            Expr::If(found) => {
                self.last_of(&found.then_branch);
                if let Some((_, otherwise)) = &found.else_branch {
                    self.yields_nothing(otherwise);
                }
            }
            Expr::Match(found) => {
                for arm in &found.arms {
                    if is_call(&arm.body) {
                        let span = arm.body.span();
                        let what = format!("without {}", text(&arm.body));
                        self.point(span, span.byte_range(), what, "{ if !{m} { ", " } }");
                    } else {
                        self.yields_nothing(&arm.body);
                    }
                }
            }
            Expr::ForLoop(found) => self.last_of(&found.body),
            Expr::While(found) => self.last_of(&found.body),
            Expr::Loop(found) => self.last_of(&found.body),
            Expr::Block(found) => self.last_of(&found.block),
            _ => {}
        }
    }

    fn last_of(&mut self, block: &Block) {
        match block.stmts.last() {
            Some(Stmt::Expr(expr, None)) if is_call(expr) => {
                self.deleted(expr.span(), expr.span().byte_range(), &text(expr));
            }
            Some(Stmt::Expr(expr, None)) => self.yields_nothing(expr),
            _ => {}
        }
    }

    fn function(&mut self, name: &str, signature: &Signature, block: &Block) {
        if signature.constness.is_some() {
            return;
        }
        self.functions.push(name.to_owned());
        let returns = match &signature.output {
            ReturnType::Default => Returns::Nothing,
            ReturnType::Type(_, of) if of.to_token_stream().to_string() == "bool" => Returns::Bool,
            ReturnType::Type(..) => Returns::Other,
        };
        let outer = core::mem::replace(&mut self.returns, returns);
        if !block.stmts.is_empty() {
            let inside = block.brace_token.span.open().byte_range().end;
            for value in defaults(&signature.output) {
                let what = if value.is_empty() {
                    "does nothing".to_owned()
                } else {
                    format!("returns {value}")
                };
                let before = format!(" if {{m}} {{ return {value}; }}");
                self.point(signature.ident.span(), inside..inside, what, &before, "");
            }
        }
        if returns == Returns::Nothing {
            self.last_of(block);
        }
        self.statements(block, returns == Returns::Bool);
        self.returns = outer;
        self.functions.pop();
    }
}

impl<'ast> Visit<'ast> for Finder {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        if !is_of_tests(&item.attrs) {
            self.function(&item.sig.ident.to_string(), &item.sig, &item.block);
        }
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        if !is_of_tests(&item.attrs) {
            self.function(&item.sig.ident.to_string(), &item.sig, &item.block);
        }
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        // Texts for people.
        let texts = ["Display", "Debug", "Error"];
        let of_texts = item.trait_.as_ref().is_some_and(|(_, path, _)| {
            path.segments.last().is_some_and(|last| texts.iter().any(|text| last.ident == text))
        });
        if !of_texts && !is_of_tests(&item.attrs) {
            self.functions
                .push(text(&item.self_ty).split('<').next().unwrap_or_default().trim().to_owned());
            visit::visit_item_impl(self, item);
            self.functions.pop();
        }
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if !is_of_tests(&item.attrs) {
            visit::visit_item_mod(self, item);
        }
    }

    // What is computed when it is compiled.
    fn visit_item_const(&mut self, _: &'ast syn::ItemConst) {}
    fn visit_item_static(&mut self, _: &'ast syn::ItemStatic) {}
    fn visit_item_macro(&mut self, _: &'ast syn::ItemMacro) {}
    fn visit_impl_item_const(&mut self, _: &'ast syn::ImplItemConst) {}
    fn visit_trait_item_const(&mut self, _: &'ast syn::TraitItemConst) {}
    fn visit_variant(&mut self, _: &'ast syn::Variant) {}
    fn visit_type(&mut self, _: &'ast Type) {}
    fn visit_generics(&mut self, _: &'ast syn::Generics) {}
    fn visit_generic_argument(&mut self, _: &'ast syn::GenericArgument) {}
    fn visit_pat(&mut self, _: &'ast syn::Pat) {}
    fn visit_attribute(&mut self, _: &'ast syn::Attribute) {}
    fn visit_expr_const(&mut self, _: &'ast syn::ExprConst) {}
    fn visit_expr_repeat(&mut self, repeat: &'ast syn::ExprRepeat) {
        self.visit_expr(&repeat.expr);
    }

    fn visit_local(&mut self, local: &'ast syn::Local) {
        if let Some(init) = &local.init {
            self.visit_expr(&init.expr);
            if let Some((_, otherwise)) = &init.diverge {
                self.visit_expr(otherwise);
            }
        }
    }

    fn visit_block(&mut self, block: &'ast Block) {
        self.statements(block, false);
    }

    fn visit_arm(&mut self, arm: &'ast syn::Arm) {
        if let Some((_, guard)) = &arm.guard {
            self.decision(guard, true);
        }
        self.visit_expr(&arm.body);
    }

    fn visit_expr(&mut self, expr: &'ast Expr) {
        match expr {
            Expr::If(found) => {
                let start = found.cond.span().byte_range().start;
                if has_let(&found.cond) {
                    let what = format!("{} is false", text(&found.cond));
                    self.point(found.cond.span(), start..start, what, "!{m} && ", "");
                }
                self.decision(&found.cond, true);
                self.visit_block(&found.then_branch);
                if let Some((_, otherwise)) = &found.else_branch {
                    self.visit_expr(otherwise);
                }
            }
            Expr::While(found) => {
                if !has_let(&found.cond) {
                    self.forced(&found.cond, false);
                }
                self.decision(&found.cond, false);
                self.visit_block(&found.body);
            }
            Expr::Match(found) => {
                self.visit_expr(&found.expr);
                let open = found.arms.last().is_some_and(|arm| is_catch_all(&arm.pat));
                let last = found.arms.len().saturating_sub(1);
                for (index, arm) in found.arms.iter().enumerate() {
                    if open && index < last && arm.guard.is_none() {
                        let end = arm.pat.span().byte_range().end;
                        let what = format!("without the arm {}", text(&arm.pat));
                        self.point(arm.pat.span(), end..end, what, " if !{m}", "");
                    }
                    self.visit_arm(arm);
                }
            }
            Expr::Closure(closure) => {
                let outer = core::mem::replace(&mut self.returns, Returns::Other);
                self.visit_expr(&closure.body);
                self.returns = outer;
            }
            Expr::Return(found) => match &found.expr {
                Some(value) if self.returns == Returns::Bool => self.decision(value, true),
                Some(value) => self.visit_expr(value),
                None => {}
            },
            Expr::MethodCall(call) => self.method(expr, call, true),
            Expr::Binary(binary) => self.binary(expr, binary),
            Expr::Unary(unary) => match unary.op {
                syn::UnOp::Not(_) => self.decision(expr, true),
                _ => self.parts(expr),
            },
            Expr::Macro(found) if found.mac.path.is_ident("matches") => self.decision(expr, true),
            Expr::Lit(lit) if matches!(lit.lit, syn::Lit::Bool(_)) => {
                let mutated = if text(expr) == "true" { "false" } else { "true" };
                self.instead(expr, mutated);
            }
            _ => self.parts(expr),
        }
    }
}

impl Finder {
    fn method(&mut self, expr: &Expr, call: &syn::ExprMethodCall, whole: bool) {
        let name = call.method.to_string();
        let swapped = SWAPPED.iter().find_map(|(one, other)| {
            (name == *one).then_some(*other).or((name == *other).then_some(*one))
        });
        if let Some(other) = swapped {
            let mut mutated = call.clone();
            mutated.method = syn::Ident::new(other, call.method.span());
            self.instead(expr, &mutated.to_token_stream().to_string());
        }
        if whole && SAYS.iter().any(|prefix| name.starts_with(prefix)) {
            self.forced(expr, true);
            self.forced(expr, false);
        }
        if THEN.contains(&name.as_str()) {
            self.decision(&call.receiver, true);
        } else {
            self.visit_expr(&call.receiver);
        }
        for argument in &call.args {
            match argument {
                Expr::Closure(closure) if DECIDES.contains(&name.as_str()) => {
                    let outer = core::mem::replace(&mut self.returns, Returns::Bool);
                    self.decision(&closure.body, true);
                    self.returns = outer;
                }
                _ => self.visit_expr(argument),
            }
        }
    }

    fn binary(&mut self, expr: &Expr, binary: &syn::ExprBinary) {
        let other = match binary.op {
            BinOp::And(_)
            | BinOp::Or(_)
            | BinOp::Eq(_)
            | BinOp::Ne(_)
            | BinOp::Lt(_)
            | BinOp::Le(_)
            | BinOp::Gt(_)
            | BinOp::Ge(_) => return self.decision(expr, true),
            BinOp::Add(_) | BinOp::Div(_) => "-",
            BinOp::Sub(_) => "+",
            BinOp::Mul(_) | BinOp::Rem(_) => "/",
            BinOp::BitAnd(_) | BinOp::BitXor(_) => "|",
            BinOp::BitOr(_) => "&",
            BinOp::Shl(_) => ">>",
            BinOp::Shr(_) => "<<",
            BinOp::AddAssign(_) => "-=",
            BinOp::SubAssign(_) => "+=",
            BinOp::BitAndAssign(_) => "|=",
            BinOp::BitOrAssign(_) | BinOp::BitXorAssign(_) => "&=",
            _ => return self.parts(expr),
        };
        self.instead(expr, &with_operator(binary, other));
        self.parts(expr);
    }
}

/// `binary` with another operator.
fn with_operator(binary: &syn::ExprBinary, operator: &str) -> String {
    let (left, right) = (binary.left.to_token_stream(), binary.right.to_token_stream());
    format!("{left} {operator} {right}")
}

fn has_let(expr: &Expr) -> bool {
    match expr {
        Expr::Let(_) => true,
        Expr::Binary(binary) => has_let(&binary.left) || has_let(&binary.right),
        _ => false,
    }
}

fn is_call(expr: &Expr) -> bool {
    matches!(expr, Expr::Call(_) | Expr::MethodCall(_) | Expr::Try(_))
}

/// A statement that can be left out; leaving out a `return` is its condition's mutant.
fn is_deletable(expr: &Expr) -> bool {
    is_call(expr) || matches!(expr, Expr::Assign(_) | Expr::Binary(_) | Expr::Match(_))
}

fn is_loop(expr: &Expr) -> bool {
    matches!(expr, Expr::ForLoop(_) | Expr::While(_))
}

fn is_catch_all(pat: &syn::Pat) -> bool {
    match pat {
        syn::Pat::Wild(_) => true,
        syn::Pat::Ident(ident) => {
            ident.subpat.is_none()
                && ident.ident.to_string().starts_with(|first: char| first.is_lowercase())
        }
        _ => false,
    }
}

fn is_of_tests(attrs: &[syn::Attribute]) -> bool {
    attrs.iter().any(|attr| {
        attr.path().is_ident("test")
            || attr.path().is_ident("cfg") && text(&attr.meta).contains("test")
    })
}

/// What a function may return instead of what it computes.
fn defaults(output: &ReturnType) -> Vec<String> {
    let ReturnType::Type(_, of) = output else { return vec![String::new()] };
    if matches!(**of, Type::ImplTrait(_) | Type::Never(_)) {
        return Vec::new();
    }
    defaults_of(of)
}

fn defaults_of(of: &Type) -> Vec<String> {
    let named = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let last = match of {
        Type::Path(path) => path.path.segments.last(),
        _ => None,
    };
    let Some(last) = last else {
        return match of {
            Type::Reference(_) if text(of).ends_with("str") => named(&["\"\""]),
            _ => named(&["Default::default()"]),
        };
    };
    let first = match &last.arguments {
        syn::PathArguments::AngleBracketed(arguments) => {
            arguments.args.iter().find_map(|argument| match argument {
                syn::GenericArgument::Type(of) => Some(of),
                _ => None,
            })
        }
        _ => None,
    };
    match (last.ident.to_string().as_str(), first) {
        ("bool", _) => named(&["true", "false"]),
        ("u8" | "u16" | "u32" | "u64" | "usize" | "i64", _) => named(&["0", "1"]),
        ("Option", Some(inner)) => {
            let mut all = named(&["None"]);
            all.extend(defaults_of(inner).into_iter().map(|inner| format!("Some({inner})")));
            all
        }
        ("Result", Some(Type::Tuple(tuple))) if tuple.elems.is_empty() => named(&["Ok(())"]),
        ("Result", Some(inner)) => {
            defaults_of(inner).into_iter().map(|inner| format!("Ok({inner})")).collect()
        }
        // Its own constructors do that.
        ("Self", _) => Vec::new(),
        _ => named(&["Default::default()"]),
    }
}

/// Code in one line.
fn text(code: &impl ToTokens) -> String {
    short(&code.to_token_stream().to_string())
}

fn short(code: &str) -> String {
    let line: Vec<_> = code.split_whitespace().collect();
    let line = line.join(" ");
    if line.chars().count() <= TEXT_MAX {
        return line;
    }
    line.chars().take(TEXT_MAX).chain(['…']).collect()
}

/// How much of the code a mutant's description shows.
const TEXT_MAX: usize = 90;

/// Methods that are each other's mutants.
const SWAPPED: &[(&str, &str)] = &[
    ("all", "any"),
    ("min", "max"),
    ("checked_add", "checked_sub"),
    ("saturating_add", "saturating_sub"),
    ("wrapping_add", "wrapping_sub"),
    ("first", "last"),
    ("min_by_key", "max_by_key"),
];

/// How methods begin that say yes or no.
const SAYS: &[&str] = &[
    "is_",
    "has_",
    "contains",
    "starts_with",
    "ends_with",
    "any",
    "all",
    "eq_",
    "admits",
    "claims_",
    "names_",
];

/// Methods of `bool`.
const THEN: &[&str] = &["then", "then_some"];

/// Methods that are given a closure which decides.
const DECIDES: &[&str] = &[
    "filter",
    "find",
    "any",
    "all",
    "position",
    "take_while",
    "skip_while",
    "is_some_and",
    "is_none_or",
    "is_ok_and",
    "retain",
    "partition",
];
