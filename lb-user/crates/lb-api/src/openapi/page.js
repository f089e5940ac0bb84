"use strict";
// Renders openapi.json. Every text goes in as text, never as markup.
const el = (name, attributes = {}, ...children) => {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
};
const resolve = (doc, schema) => {
  const path = schema && schema.$ref;
  return path ? path.slice(2).split("/").reduce((at, key) => at[key], doc) : schema || {};
};
const typeOf = (doc, schema) => {
  if (schema.$ref) return schema.$ref.split("/").pop();
  if (schema.enum) return schema.enum.map((v) => JSON.stringify(v)).join(" | ");
  const type = [].concat(schema.type || "any").join(" | ");
  if (schema.items) return type + " of " + typeOf(doc, schema.items);
  const limits = [];
  if (schema.format) limits.push(schema.format);
  if (schema.maxLength !== undefined) limits.push("at most " + schema.maxLength + " characters");
  if (schema.minimum !== undefined) limits.push(schema.minimum + " … " + schema.maximum);
  return limits.length ? type + " (" + limits.join(", ") + ")" : type;
};
const table = (doc, reference) => {
  const schema = resolve(doc, reference);
  const rows = el("table");
  const required = schema.required || [];
  for (const [key, field] of Object.entries(schema.properties || {})) {
    const said = [field.description || ""];
    if (required.includes(key)) said.unshift("required.");
    if (field.default !== undefined) said.unshift("default " + JSON.stringify(field.default) + ".");
    rows.append(el("tr", {}, el("td", {}, el("code", {}, key)), el("td", {}, typeOf(doc, field)),
      el("td", {}, said.join(" "))));
  }
  return rows;
};
const schemas = (doc, reference, seen = new Set()) => {
  const out = [];
  const name = reference.$ref ? reference.$ref.split("/").pop() : "";
  if (name && seen.has(name)) return out;
  seen.add(name);
  const schema = resolve(doc, reference);
  if (!schema.properties) return out;
  out.push(el("div", {}, name ? el("h4", {}, name) : "", table(doc, reference)));
  for (const field of Object.values(schema.properties)) {
    for (const inner of [field, field.items || {}]) if (inner.$ref) out.push(...schemas(doc, inner, seen));
  }
  return out;
};
const content = (part) => ((part || {}).content || {})["application/json"];
const render = (doc, path, verb, op) => {
  const box = el("details", {}, el("summary", {}, el("span", { class: "verb" }, verb.toUpperCase()),
    el("code", {}, path), " ", el("span", { class: "note" }, op.summary || "")));
  if (op.description) box.append(el("p", {}, op.description));
  if (op.parameters) {
    const rows = el("table");
    for (const reference of op.parameters) {
      const parameter = resolve(doc, reference);
      rows.append(el("tr", {}, el("td", {}, el("code", {}, parameter.name)), el("td", {}, parameter.in),
        el("td", {}, parameter.description || "")));
    }
    box.append(el("h3", {}, "Parameters"), rows);
  }
  const body = content(op.requestBody);
  if (body) box.append(el("h3", {}, "Request"), ...schemas(doc, body.schema));
  box.append(el("h3", {}, "Answers"));
  for (const [code, reference] of Object.entries(op.responses)) {
    const answer = resolve(doc, reference);
    box.append(el("p", {}, el("code", {}, code), " " + answer.description));
    const json = content(answer);
    if (json && code < "300") box.append(...schemas(doc, json.schema));
  }
  box.dataset.words = (path + " " + JSON.stringify(op) + box.textContent).toLowerCase();
  return box;
};
fetch("openapi.json").then((answer) => answer.json()).then((doc) => {
  const main = document.getElementById("operations");
  main.replaceChildren(el("p", {}, doc.info.description));
  const groups = new Map();
  for (const [path, item] of Object.entries(doc.paths)) {
    for (const [verb, op] of Object.entries(item)) {
      const tag = op.tags[0];
      if (!groups.has(tag)) {
        groups.set(tag, el("section", {}, el("h2", {}, tag)));
        main.append(groups.get(tag));
      }
      groups.get(tag).append(render(doc, path, verb, op));
    }
  }
  const search = document.getElementById("search");
  const filter = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const box of main.querySelectorAll("details")) {
      box.hidden = !words.every((word) => box.dataset.words.includes(word));
      shown += box.hidden ? 0 : 1;
    }
    document.getElementById("count").textContent = shown + " operations";
  };
  search.addEventListener("input", filter);
  filter();
});
