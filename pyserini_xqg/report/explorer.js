"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const message = byId("message"), explorer = byId("explorer"), list = byId("list"), rows = byId("rows");
  const detail = byId("detail"), search = byId("search"), language = byId("language"), outcome = byId("outcome");
  const measure = byId("measure"), order = byId("order"), found = byId("found");
  const fold = (text) => text.normalize("NFKC").toLowerCase();
  const signed = (value) => (value > 0 ? "+" : value < 0 ? "\u2212" : "\u00b1") + Math.abs(value * 100).toFixed(1);

  // Texts only ever become text nodes, whatever they hold.
  function element(name, attributes, ...children) {
    const node = document.createElement(name);
    for (const key in attributes) if (attributes[key] != null) node.setAttribute(key, attributes[key]);
    node.append(...children.filter((child) => child != null));
    return node;
  }

  async function unpack(packed) {
    const bytes = Uint8Array.from(atob(packed), (character) => character.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return JSON.parse(await new Response(stream).text());
  }

  let data, searched, shown = [], active = -1, rowHeight = 0;
  const drawn = new Map();

  const value = (run, question) => data.values[measure.selectedIndex][run][question];
  function gain(question) {
    const first = value(0, question), second = value(1, question);
    return first == null || second == null ? null : second - first;
  }
  // The change of the first gold passage's reciprocal rank, which orders questions of equal gain.
  function rise(question) {
    const [first, second] = data.best[question];
    return (second ? 1 / second : 0) - (first ? 1 / first : 0);
  }
  const rankText = (rank, retrieved) => (rank ? String(rank) : retrieved ? ">" + retrieved : "\u2013");

  function filter() {
    const words = fold(search.value).split(/\s+/).filter(Boolean);
    const wanted = language.value, kind = outcome.value, kept = [];
    for (let question = 0; question < data.ids.length; question++) {
      if (wanted !== "" && data.language[question] !== Number(wanted)) continue;
      const change = gain(question);
      if (kind === "won" && !(change > 0)) continue;
      if (kind === "lost" && !(change < 0)) continue;
      if (kind === "tied" && change !== 0) continue;
      if (kind === "uncounted" && change !== null) continue;
      if (!words.every((word) => searched[question].includes(word))) continue;
      kept.push([question, change, rise(question)]);
    }
    const low = (change) => (change === null ? -Infinity : change);
    const by = {
      gain: (one, other) => low(other[1]) - low(one[1]) || other[2] - one[2],
      loss: (one, other) => (one[1] === null) - (other[1] === null) || one[1] - other[1] || one[2] - other[2],
      change: (one, other) => Math.abs(other[1] || 0) - Math.abs(one[1] || 0)
        || Math.abs(other[2]) - Math.abs(one[2]),
      id: () => 0,
    }[order.value];
    kept.sort((one, other) => by(one, other) || one[0] - other[0]);
    const before = shown[active];
    shown = kept.map((one) => one[0]);
    found.textContent = `${shown.length.toLocaleString("en")} of ${data.ids.length.toLocaleString("en")} questions`;
    for (const node of drawn.values()) node.remove();
    drawn.clear();
    rows.style.height = `${shown.length * rowHeight}px`;
    active = -1;
    select(shown.length ? Math.max(0, shown.indexOf(before)) : -1, false);
  }

  function row(place) {
    const question = shown[place], change = gain(question), best = data.best[question];
    const state = change > 0 ? "won" : change < 0 ? "lost" : "tied";
    const code = data.languages[data.language[question]][0];
    const node = element("div", { class: "row", role: "option", id: `row${place}`, "aria-setsize": shown.length,
      "aria-posinset": place + 1, "aria-selected": place === active },
      element("span", { class: "facts" },
        element("span", { class: state }, change === null ? "not counted" : signed(change)),
        element("span", {}, code),
        element("span", { title: "rank of the first gold passage in both runs" }, data.gold[question].length
          ? `rank ${rankText(best[0], data.retrieved[question][0])} \u2192 `
            + rankText(best[1], data.retrieved[question][1])
          : "no gold passage")),
      element("span", { class: "question", dir: "auto", lang: code }, data.texts[question]));
    node.style.top = `${place * rowHeight}px`;
    return node;
  }

  // Only the rows in view are in the document.
  function draw() {
    const first = Math.max(0, Math.floor(list.scrollTop / rowHeight) - 6);
    const last = Math.min(shown.length, Math.ceil((list.scrollTop + list.clientHeight) / rowHeight) + 6);
    for (const [place, node] of drawn) {
      if ((place < first || place >= last) && place !== active) { node.remove(); drawn.delete(place); }
    }
    for (let place = first; place < last; place++) if (!drawn.has(place)) put(place);
    if (active >= 0 && !drawn.has(active)) put(active);
  }
  function put(place) {
    const node = row(place);
    drawn.set(place, node);
    rows.append(node);
  }

  function select(place, follow) {
    if (active >= 0 && drawn.has(active)) drawn.get(active).setAttribute("aria-selected", "false");
    active = place;
    if (place >= 0) {
      const top = place * rowHeight;
      if (top < list.scrollTop) list.scrollTop = top;
      else if (top + rowHeight > list.scrollTop + list.clientHeight) {
        list.scrollTop = top + rowHeight - list.clientHeight;
      }
    }
    draw();
    if (place < 0) {
      list.removeAttribute("aria-activedescendant");
      detail.replaceChildren(element("p", { class: "soft" }, "No question fits the filters."));
      return;
    }
    drawn.get(place).setAttribute("aria-selected", "true");
    list.setAttribute("aria-activedescendant", `row${place}`);
    describe(shown[place]);
    if (follow) history.replaceState(null, "", `#${encodeURIComponent(data.ids[shown[place]])}`);
  }

  const number = (scaled) => (scaled / data.scale).toFixed(Math.log10(data.scale));

  function describe(question) {
    const code = data.languages[data.language[question]];
    const parts = [
      element("h3", { dir: "auto", lang: code[0], id: "detail-title" }, data.texts[question]),
      element("p", { class: "soft" }, element("span", { class: "id" }, data.ids[question]),
        ` \u00b7 ${code[1] || code[0]}`),
    ];
    if (data.answers[question].length) {
      parts.push(element("p", {}, "Answers: ", element("span", { dir: "auto" }, data.answers[question].join(" \u00b7 "))));
    }
    const head = ["", ...data.measures, "rank of the gold passage"];
    const table = element("table", {},
      element("thead", {}, element("tr", {}, ...head.map((text) => element("th", { scope: "col" }, text)))));
    const body = element("tbody", {});
    for (const run of [0, 1]) {
      const cells = data.values.map((values) => {
        const own = values[run][question];
        return element("td", {}, own == null ? "\u2013" : (own * 100).toFixed(2));
      });
      const ranks = data.gold[question].map((one) => rankText(one[1 + run], data.retrieved[question][run]));
      body.append(element("tr", {}, element("th", { scope: "row" }, data.runs[run]), ...cells,
        element("td", {}, ranks.join(", ") || "\u2013")));
    }
    table.append(body);
    parts.push(element("div", { class: "wide" }, table));
    const more = data.moreGold[question];
    parts.push(element("h4", {}, data.gold[question].length + more > 1 ? "Gold passages" : "Gold passage"));
    if (!data.gold[question].length) parts.push(element("p", { class: "soft" }, "None is known for this question."));
    data.gold[question].forEach((one, place) => {
      parts.push(passage(question, one[0], null), ...generated(question, one[0], data.products[question][place]));
    });
    if (more) parts.push(element("p", { class: "soft" }, `and ${more.toLocaleString("en")} more`));
    const both = element("div", { class: "both" });
    for (const run of [0, 1]) {
      const column = element("div", {}, element("h4", {}, `Top of ${data.runs[run]}`));
      const top = data.top[question][run];
      top.forEach((one, place) => column.append(passage(question, one, place + 1, data.gold[question])));
      if (!top.length) {
        column.append(element("p", { class: "soft" }, data.retrieved[question][run] ? "Left out, to keep this page small."
          : "This run has no passage for the question."));
      }
      both.append(column);
    }
    parts.push(both);
    detail.replaceChildren(...parts);
    detail.scrollTop = 0;
  }

  // The text with the answers in it marked, case and all.
  function marked(text, answers) {
    const parts = [];
    let rest = text;
    for (;;) {
      let first = -1, length = 0;
      for (const answer of answers) {
        const at = answer && answer !== "yes" && answer !== "no" ? rest.indexOf(answer) : -1;
        if (at >= 0 && (first < 0 || at < first || (at === first && answer.length > length))) {
          first = at;
          length = answer.length;
        }
      }
      if (first < 0) return [...parts, rest];
      parts.push(rest.slice(0, first), element("mark", {}, rest.slice(first, first + length)));
      rest = rest.slice(first + length);
    }
  }

  function passage(question, place, rank, gold) {
    const text = data.passageTexts[place], isGold = gold && gold.some((one) => one[0] === place);
    return element("div", { class: "passage" },
      element("div", {}, rank ? `${rank}. ` : null, element("b", { dir: "auto" }, data.titles[place]),
        data.titles[place] ? " " : null, element("span", { class: "id" }, data.docids[place]),
        isGold ? " " : null, isGold ? element("span", { class: "tag" }, "gold") : null),
      text === null ? element("div", { class: "text soft" }, "(no texts: the page was made without passages)")
        : isGold ? null : element("div", { class: "text", dir: "auto" },
          ...marked(text, data.answers[question])));
  }

  // The gold passage's own vector, the index's and its generated queries, each with its inner product.
  function generated(question, place, products) {
    const used = data.used[data.language[question]], parts = [];
    const queries = data.queryLanguages.map((_, at) => data.queries[at][place]);
    const total = queries.reduce((sum, some) => sum + some.length, 0);
    const inIndex = (at, index) => !used || (used[0].includes(at) && (used[1] == null || index < used[1]));
    let best = null, low = 0, high = 0;
    if (products) {
      low = high = products[0];
      const all = products[1] == null ? [] : [products[1]];
      queries.forEach((some, at) => some.forEach((_, index) => {
        const one = products[2 + at][index];
        if (one == null) return;
        all.push(one);
        if (inIndex(at, index) && (!best || one > best[2])) best = [at, index, one];
      }));
      for (const one of all) { low = Math.min(low, one); high = Math.max(high, one); }
      low = Math.min(low, 0);
    }
    const line = (kind, scaled, content, note) => {
      const item = element("li", { class: kind });
      if (products) {
        const bar = element("i", {});
        bar.style.width = scaled == null || high === low ? "0" : `${100 * (scaled - low) / (high - low)}%`;
        item.append(element("span", { class: "number" }, scaled == null ? "" : number(scaled)),
          element("span", { class: "track", "aria-hidden": "true" }, bar));
      }
      item.append(element("span", {}, content, note ? " " : null, note ? element("span", { class: "tag" }, note) : null));
      return item;
    };
    if (products) {
      const own = element("ul", { class: "queries" }, line("own", products[0], "the passage\u2019s own vector"));
      if (products[1] != null) own.append(line("own", products[1], "its vector in the index"));
      parts.push(element("h4", {}, "Inner product with the question"), own);
      if (best) {
        const code = data.queryLanguages[best[0]][0];
        const [first, second] = data.gold[question].find((gold) => gold[0] === place).slice(1);
        const rose = second && (!first || second < first);
        const said = best[2] <= products[0] ? "No generated query is nearer than the passage itself; the nearest is "
          : rose ? "Pulled up by " : "The nearest generated query is ";
        parts.push(element("p", {}, said,
          element("q", { dir: "auto", lang: code }, queries[best[0]][best[1]]), ` (${code}, ${number(best[2])})`));
      }
    }
    if (!total) {
      if (data.hasQueries) parts.push(element("p", { class: "soft" }, "This passage has no generated queries."));
      return parts;
    }
    parts.push(element("h4", {}, `Generated queries (${total})`));
    const asked = data.languages[data.language[question]][0];
    const groups = queries.map((_, at) => at).filter((at) => queries[at].length);
    groups.sort((one, other) => (data.queryLanguages[other][0] === asked) - (data.queryLanguages[one][0] === asked));
    for (const at of groups) {
      const [code, name] = data.queryLanguages[at];
      const items = queries[at].map((text, index) => [text, index, products ? products[2 + at][index] : null]);
      if (products) items.sort((one, other) => (other[2] ?? -Infinity) - (one[2] ?? -Infinity) || one[1] - other[1]);
      const isBest = (index) => best && best[0] === at && best[1] === index;
      const group = element("details", {}, element("summary", {}, `${name || code} `, element("span", { class: "soft" },
        products && items[0][2] != null ? `${items.length}, highest ${number(items[0][2])}` : String(items.length))),
        element("ul", { class: products ? "queries" : "queries plain" }, ...items.map(([text, index, scaled]) =>
          line(isBest(index) ? "best" : inIndex(at, index) ? null : "unused", scaled,
            element("span", { dir: "auto", lang: code }, text),
            isBest(index) ? "highest" : inIndex(at, index) ? null : "not in the index"))));
      group.open = code === asked || (best !== null && best[0] === at) || groups.length === 1;
      parts.push(group);
    }
    return parts;
  }

  function option(select, value, text) { select.append(element("option", { value }, text)); }

  function begin() {
    data.hasQueries = data.queries.some((some) => some.some((texts) => texts.length));
    searched = data.ids.map((id, question) => fold([id, data.texts[question], ...data.answers[question],
      ...data.gold[question].flatMap((one) => [data.docids[one[0]], data.titles[one[0]]])].join("\n")));
    option(language, "", "all");
    data.languages.forEach(([code, name], at) => option(language, at, name ? `${name} (${code})` : code));
    data.measures.forEach((name) => option(measure, name, name));
    message.hidden = true;
    explorer.hidden = false;
    const probe = element("div", { class: "row" });
    rows.append(probe);
    rowHeight = probe.getBoundingClientRect().height;
    probe.remove();
    let waiting = 0;
    search.addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(filter, 80); });
    for (const control of [language, outcome, measure, order]) control.addEventListener("change", filter);
    list.addEventListener("scroll", draw, { passive: true });
    addEventListener("resize", draw);
    list.addEventListener("click", (event) => {
      const node = event.target.closest(".row");
      if (node) select(Number(node.id.slice(3)), true);
    });
    list.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.altKey || event.metaKey) return;
      const page = Math.max(1, Math.floor(list.clientHeight / rowHeight) - 1);
      const to = { ArrowDown: active + 1, ArrowUp: active - 1, PageDown: active + page, PageUp: active - page,
        Home: 0, End: shown.length - 1 }[event.key];
      if (event.key === "Enter") { event.preventDefault(); detail.focus(); return; }
      if (to === undefined || !shown.length) return;
      event.preventDefault();
      select(Math.min(shown.length - 1, Math.max(0, to)), true);
    });
    search.addEventListener("keydown", (event) => {
      if (event.key === "ArrowDown") { event.preventDefault(); list.focus(); }
      if (event.key === "Escape" && search.value) { search.value = ""; filter(); }
    });
    detail.addEventListener("keydown", (event) => { if (event.key === "Escape") list.focus(); });
    addEventListener("keydown", (event) => {
      if (event.key !== "/" || event.ctrlKey || event.altKey || event.metaKey) return;
      if (/^(INPUT|SELECT)$/.test(document.activeElement.tagName)) return;
      event.preventDefault();
      search.focus();
    });
    addEventListener("hashchange", open);
    filter();
    open();
  }

  function open() {
    let id = "";
    try { id = decodeURIComponent(location.hash.slice(1)); } catch (error) { return; }
    const place = shown.indexOf(data.ids.indexOf(id));
    if (place < 0) return;
    list.scrollTop = place * rowHeight - list.clientHeight / 3;
    select(place, false);
  }

  if (typeof DecompressionStream === "undefined") return;  // the message on the page says what is needed
  message.textContent = "Unpacking \u2026";
  unpack(byId("data").textContent).then((found) => { data = found; begin(); }).catch((error) => {
    explorer.hidden = true;
    message.hidden = false;
    message.textContent = `The questions cannot be shown: ${error.message || error}. Make the page again.`;
  });
})();
