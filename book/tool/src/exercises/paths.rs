//! What an exercise's files may refer to: their own exercise, and the chapter's crate.
//!
//! Every path that starts at `crate`, `self` or `super` is resolved against the module
//! that it stands in. We read tokens, since most of a check stands inside `assert!`,
//! where a syntax tree has none of its paths.

use super::layout::{FOLDERS, number};
use super::{Exercise, Violations};
use proc_macro2::{Delimiter, TokenStream, TokenTree};
use std::fs;
use std::path::Path;
use std::str::FromStr;

/// Looks at all files of a chapter's exercises.
pub(super) fn check(
    root: &Path,
    chapter: &str,
    exercises: &[Exercise],
    violations: &mut Violations,
) {
    let home = format!("chapters/{chapter}");
    for target in ["exercises", "solutions"] {
        let file = format!("{home}/tests/{target}.rs");
        if !is_target(root, &file, target) {
            let message = format!(
                "expected `#[path = \"../{target}/mod.rs\"] mod answer;` and \
                 `#[path = \"../checks/mod.rs\"] mod checks;` and nothing else: both \
                 targets run the same checks"
            );
            violations.add(file, 1, message);
        }
    }
    for folder in FOLDERS {
        let module = if folder == "checks" { "checks" } else { "answer" };
        let file = format!("{home}/{folder}/mod.rs");
        look(root, &file, &[module], violations);
        for exercise in exercises {
            let file = format!("{home}/{folder}/{}.rs", exercise.name);
            look(root, &file, &[module, &exercise.name], violations);
        }
    }
}

/// Whether a file under tests/ is the two modules that it should be.
fn is_target(root: &Path, file: &str, folder: &str) -> bool {
    let Ok(text) = fs::read_to_string(root.join(file)) else { return false };
    let Ok(file) = syn::parse_file(&text) else { return false };
    let is = |item: &syn::Item, name: &str, folder: &str| {
        let syn::Item::Mod(module) = item else { return false };
        let [attribute] = &module.attrs[..] else { return false };
        let syn::Meta::NameValue(path) = &attribute.meta else { return false };
        let syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(path_is), .. }) =
            &path.value
        else {
            return false;
        };
        module.ident == name
            && module.content.is_none()
            && path.path.is_ident("path")
            && path_is.value() == format!("../{folder}/mod.rs")
    };
    let [a, b] = &file.items[..] else { return false };
    is(a, "answer", folder) && is(b, "checks", "checks")
        || is(a, "checks", "checks") && is(b, "answer", folder)
}

/// Looks at one file, which is the module `crate::MODULE`.
fn look(root: &Path, file: &str, module: &[&str], violations: &mut Violations) {
    let Ok(text) = fs::read_to_string(root.join(file)) else { return };
    // What is not Rust is the compiler's to report.
    let Ok(tokens) = TokenStream::from_str(&text) else { return };
    let mut walk = Walk { own: module, file, violations };
    let module = module.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    walk.tokens(tokens, &module);
}

struct Walk<'a> {
    /// The file's own module: `checks` for the list of modules, `checks::ex1_mean`.
    own: &'a [&'a str],
    file: &'a str,
    violations: &'a mut Violations,
}

impl Walk<'_> {
    fn tokens(&mut self, tokens: TokenStream, module: &[String]) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut at = 0;
        while at < tokens.len() {
            at += self.token(&tokens[at..], module);
        }
    }

    /// Looks at what the tokens begin with and says how many of them that took.
    fn token(&mut self, tokens: &[TokenTree], module: &[String]) -> usize {
        let first = match &tokens[0] {
            TokenTree::Group(group) => {
                self.attribute(group);
                self.tokens(group.stream(), module);
                return 1;
            }
            TokenTree::Ident(name) => name,
            _ => return 1,
        };
        let line = first.span().start().line;
        match (first.to_string().as_str(), tokens.get(1), tokens.get(2)) {
            // A visibility names nothing.
            ("pub", Some(TokenTree::Group(group)), _) if is_round(group) => 2,
            ("mod", Some(TokenTree::Ident(name)), Some(TokenTree::Group(body))) => {
                let inner = [module, &[name.to_string()]].concat();
                self.tokens(body.stream(), &inner);
                3
            }
            ("mod", Some(TokenTree::Ident(name)), Some(TokenTree::Punct(_))) => {
                if self.own.len() > 1 {
                    let message = format!(
                        "`mod {name};` takes in another file: an exercise is one file; \
                         write the module here"
                    );
                    self.violations.add(self.file, line, message);
                }
                3
            }
            ("include", Some(mark), _) if is_mark(mark, '!') => {
                let message = "`include!` takes in another file: an exercise is one \
                               file; write its code here";
                self.violations.add(self.file, line, message);
                2
            }
            _ => self.path(tokens, &[], line, module),
        }
    }

    /// `#[path = …]`, of which only the bracket is known here.
    fn attribute(&mut self, group: &proc_macro2::Group) {
        let mut inside = group.stream().into_iter();
        if let (Delimiter::Bracket, Some(TokenTree::Ident(name))) =
            (group.delimiter(), inside.next())
            && name == "path"
            && inside.next().is_some_and(|mark| is_mark(&mark, '='))
            && let Some(TokenTree::Literal(_)) = inside.next()
        {
            let line = name.span().start().line;
            let message = "`#[path]` takes in another file: an exercise is one file; \
                           write its code here";
            self.violations.add(self.file, line, message);
        }
    }

    /// A path, `a::b::{c, d::*}`, whose `before` is already read.
    fn path(
        &mut self,
        tokens: &[TokenTree],
        before: &[String],
        line: usize,
        module: &[String],
    ) -> usize {
        let mut names = before.to_vec();
        let mut at = 0;
        loop {
            match tokens.get(at) {
                Some(TokenTree::Ident(name)) => names.push(name.to_string()),
                Some(star) if is_mark(star, '*') => {
                    names.push("*".to_owned());
                }
                Some(TokenTree::Group(group))
                    if group.delimiter() == Delimiter::Brace && !names.is_empty() =>
                {
                    self.entries(group.stream(), &names, module);
                    return at + 1;
                }
                _ => break,
            }
            at += 1;
            if !is_colons(&tokens[at..]) {
                break;
            }
            at += 2;
        }
        self.resolve(&names, line, module);
        at.max(1)
    }

    /// The entries of `{c, d::*}` in a use tree.
    fn entries(&mut self, tokens: TokenStream, before: &[String], module: &[String]) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        for entry in
            tokens.split(|token| is_mark(token, ',')).filter(|entry| !entry.is_empty())
        {
            let line = entry[0].span().start().line;
            self.path(entry, before, line, module);
        }
    }

    /// Where a path leads, and whether it may.
    fn resolve(&mut self, names: &[String], line: usize, module: &[String]) {
        let mut place = match names[0].as_str() {
            // A method's own value.
            "self" if names.len() == 1 => return,
            "crate" => Vec::new(),
            "self" | "super" => module.to_vec(),
            // A module of this folder, named from mod.rs or after a glob.
            name if names.len() > 1 && number(name).is_some() => {
                vec![self.own[0].to_owned(), name.to_owned()]
            }
            _ => return,
        };
        for (at, name) in names.iter().enumerate() {
            match name.as_str() {
                "super" => drop(place.pop()),
                "crate" | "self" => {}
                name if at == 0 && number(name).is_some() => {}
                name => place.push(name.to_owned()),
            }
        }
        if !self.allowed(&place) {
            let message = format!(
                "`{}` leads out of this exercise: {}",
                names.join("::"),
                self.expected()
            );
            self.violations.add(self.file, line, message);
        }
    }

    fn allowed(&self, place: &[String]) -> bool {
        let place: Vec<&str> = place.iter().map(String::as_str).collect();
        // What mod.rs of the checks has to offer to all of them.
        let shared = |name: &str| name != "*" && number(name).is_none();
        match (self.own, &place[..]) {
            (["checks", ..], ["checks", name, ..]) if shared(name) => true,
            (["checks", own], ["answer", name, ..]) => own == name,
            ([_], [folder, name, ..]) => self.own[0] == *folder && shared(name),
            (own, place) => own.len() > 1 && place.starts_with(own),
        }
    }

    fn expected(&self) -> String {
        match self.own {
            ["checks", name] => format!(
                "a check uses `crate::answer::{name}`, the chapter's crate, and \
                 functions of checks/mod.rs; write what it needs of others here"
            ),
            ["checks", ..] => {
                "what the checks share uses no answer: pass it in".to_owned()
            }
            _ => "an answer uses the chapter's crate and its own file; write what it \
                  needs of others here"
                .to_owned(),
        }
    }
}

fn is_round(group: &proc_macro2::Group) -> bool {
    group.delimiter() == Delimiter::Parenthesis
}

fn is_colons(tokens: &[TokenTree]) -> bool {
    matches!(tokens, [a, b, ..] if is_mark(a, ':') && is_mark(b, ':'))
}

fn is_mark(token: &TokenTree, mark: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == mark)
}
