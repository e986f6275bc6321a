// The page's one script: listens to /events, keeps two minutes, draws them. All words go in as text, none as markup.
"use strict";

const SVG = "http://www.w3.org/2000/svg";
// A time without frames, and a silence of the device, that mean something; seconds.
const GAP = 2.5;
const SILENCE = 6;
const MOST_LANES = 10;
const MANY_LANES = 4;
// The sentence at the top names so many emotions.
const MOST_KINDS = 3;
// Where this many events wait for the broker, it is not there or too slow.
const BACKLOG = 20;
const KNOWN = [/^(ang|rage)/, /^disg/, /^(fear|afraid|scar)/, /^(happ|joy|smil)/, /^sad/, /^surp/, /^neut/];
const COUNTS = ["Nobody", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine", "Ten", "Eleven", "Twelve"];
const PROBLEMS = {
  camera: "The camera gives no pictures.",
  storage: "Events cannot be stored, or were damaged or dropped.",
  stage: "A part of the program hung and was started anew.",
  model: "A new model was refused; the old one goes on.",
  temperature: "The board is too hot and slows itself down.",
};

const at = name => document.getElementById(name);
const calm = matchMedia("(prefers-reduced-motion: reduce)");
const number = new Intl.NumberFormat("en");

let health = null; // device, model, labels, stats, age, state, broker: before all else, and when it changes
let hello = null; // run, version, window, pictures: with the past, before the first tick
let healthAt = 0;
let heard = 0; // when the last message came, by this browser's clock
let clock = { now: 0, at: 0 }; // the device's clock, and ours when it told
let silent = null; // seconds since the last frame, as told
let ticks = []; // [device time, frames]
let times = []; // when frames came
let tracks = new Map(); // number -> {id, points: [[time, label, confidence]], label, since, early}
let cursor = null; // seconds ago, where somebody looks at the past
let colours = new Map();
let lost = true;

// ---- small tools

function make(name, properties = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) element[key] = value;
  element.append(...children);
  return element;
}

function draw(name, attributes = {}, text = null) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== null) element.textContent = text;
  return element;
}

// A device that is cut off would leave an answer open for minutes.
function ask(path, method = "GET") {
  const patience = new AbortController();
  setTimeout(() => patience.abort(), 5000);
  return fetch(path, { method, cache: "no-store", signal: patience.signal });
}

function write(element, text) {
  // Unchanged text is left alone, so that a screen reader hears of changes only.
  if (element.textContent !== text) element.textContent = text;
}

const deviceNow = () => clock.now + (lost ? 0 : (performance.now() - clock.at) / 1000);

function span(seconds) {
  const s = Math.max(0, Math.round(seconds));
  if (s < 90) return `${s} s`;
  if (s < 5400) return `${Math.round(s / 60)} min`;
  return s < 172800 ? `${Math.round(s / 3600)} h` : `${Math.round(s / 86400)} days`;
}

// ---- colours: known emotions have theirs, others what is left, then striped ones

function assignColours(labels) {
  colours = new Map([["uncertain", "doubtful"]]);
  const free = new Set(KNOWN.keys());
  for (const label of labels) {
    const found = KNOWN.findIndex(word => word.test(label.toLowerCase()));
    if (found >= 0 && free.delete(found)) colours.set(label, `e${found}`);
  }
  labels.forEach(colourOf);
  const shown = [...labels, "uncertain"];
  at("legend").replaceChildren(...shown.map(label => make("li", {}, swatch(label), label)));
}

function colourOf(label) {
  if (label === null) return "none";
  if (!colours.has(label)) {
    const taken = new Set(colours.values());
    const all = [...KNOWN.keys()].map(i => `e${i}`).concat([...KNOWN.keys()].map(i => `h${i}`));
    colours.set(label, all.find(each => !taken.has(each)) ?? "h6");
  }
  return colours.get(label);
}

function swatch(label) {
  const icon = draw("svg", { class: "swatch", viewBox: "0 0 12 12", "aria-hidden": "true" });
  icon.append(draw("rect", { class: colourOf(label), width: 12, height: 12, rx: 3 }));
  return icon;
}

function makePatterns() {
  const pattern = (id, ground, line) => {
    const made = draw("pattern", { id, width: 6, height: 6, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" });
    made.append(draw("rect", { class: ground, width: 6, height: 6 }), draw("line", { class: line, x1: 3, y1: 0, x2: 3, y2: 6 }));
    return made;
  };
  const striped = [...KNOWN.keys()].map(i => pattern(`h${i}`, `e${i}`, "stripe"));
  at("patterns").append(...striped, pattern("doubtful", "ground", "rule"));
}

// ---- what the device says

function take(samples) {
  for (const [time, faces] of samples) {
    times.push(time);
    for (const [id, label, confidence] of faces) {
      let track = tracks.get(id);
      if (!track) tracks.set(id, (track = { id, points: [], label: undefined, since: time, early: false }));
      if (track.label !== label) [track.label, track.since] = [label, time];
      track.points.push([time, label, confidence]);
    }
  }
  const oldest = deviceNow() - hello.window - GAP;
  times = times.filter(time => time >= oldest);
  for (const [id, track] of tracks) {
    track.points = track.points.filter(point => point[0] >= oldest);
    if (!track.points.length) tracks.delete(id);
  }
}

function tell(message) {
  heard = performance.now();
  clock = { now: message.now, at: heard };
  silent = message.silent;
  ticks.push([message.now, message.frames]);
  ticks = ticks.filter(tick => tick[0] >= message.now - 6);
}

function greet(message) {
  if (hello && hello.version !== message.version) return location.reload();
  if (hello && hello.run !== message.run) notice(`The service was started anew at ${new Date().toLocaleTimeString()}.`, 30);
  else notice("");
  hello = message;
  [ticks, times, tracks, lost] = [[], [], new Map(), false];
  tell(message);
  take(message.samples);
  // What was so from the first moment that is known may have begun before it.
  for (const track of tracks.values()) track.early = track.since <= times[0] && deviceNow() - times[0] > hello.window - 2;
  document.body.classList.remove("lost");
  at("picture").hidden = !hello.pictures;
  if (hello.pictures) look();
  showHealth();
  show();
}

function learn(message) {
  if (!health || String(health.labels) !== String(message.labels)) assignColours(message.labels);
  [health, healthAt] = [message, performance.now()];
  write(at("device"), message.device);
  if (!lost) showHealth();
}

// ---- who is there

function present() {
  const latest = times.at(-1);
  if (lost || latest === undefined || deviceNow() - latest > GAP) return [];
  const here = [...tracks.values()].filter(track => track.points.at(-1)[0] === latest);
  // A detection of a moment is no face yet; one that does not settle is.
  return here.filter(track => track.label !== null || latest - track.since > 1).sort((a, b) => a.id - b.id);
}

const settled = track => track.points.some(point => point[1] !== null);
const said = label => label ?? "not settled";

function sentence(here) {
  if (lost) return "Not known at the moment";
  if (health?.state?.paused) return "Paused";
  if (silent === null || silent > GAP) return "No pictures";
  if (!here.length) return "Nobody is here";
  const counts = new Map();
  for (const track of here) counts.set(said(track.label), (counts.get(said(track.label)) ?? 0) + 1);
  const many = COUNTS[here.length] ?? number.format(here.length);
  if (here.length === 1) return `One face, ${said(here[0].label)}`;
  if (counts.size === 1) return `${many} faces, all ${said(here[0].label)}`;
  const spoken = n => (COUNTS[n] ?? number.format(n)).toLowerCase();
  const kinds = [...counts].sort((a, b) => b[1] - a[1]);
  const parts = kinds.slice(0, MOST_KINDS).map(([label, n]) => `${spoken(n)} ${label}`);
  const others = kinds.slice(MOST_KINDS).reduce((sum, kind) => sum + kind[1], 0);
  return `${many} faces: ${parts.join(", ")}${others ? `, ${spoken(others)} other` : ""}`;
}

// ---- the time line

function runs(track, now) {
  const found = [];
  let open = null;
  for (const point of track.points) {
    const [time, label] = point;
    const last = open?.points.at(-1);
    if (open && time - last[0] <= GAP && open.label === label) open.points.push(point);
    else {
      // One emotion lasts until the next begins.
      if (open && time - last[0] <= GAP) open.points.push([time, open.label, last[2]]);
      found.push((open = { label, points: [point] }));
    }
  }
  const last = open.points.at(-1);
  if (last[0] === times.at(-1) && now - last[0] < GAP) open.points.push([now, open.label, last[2]]);
  return found;
}

// Of a word under the time line, pixels.
const widths = new Map();
const brush = document.createElement("canvas").getContext("2d");

function widthOf(word) {
  if (!widths.has(word)) {
    brush.font = `12.8px ${getComputedStyle(document.body).fontFamily}`;
    widths.set(word, brush.measureText(word).width);
  }
  return widths.get(word);
}

function lane(track, here, now) {
  const element = make("li", { className: here ? "lane" : "lane gone" });
  const [, label, confidence] = track.points.at(-1);
  const ago = span(now - track.points.at(-1)[0]);
  const before = track.early && track.since <= times[0] + GAP;
  const lasts = before ? `for over ${span(hello.window)}` : `for ${span(now - track.since)}`;
  const name = make("span", { className: "name quiet" }, `Face ${track.id}, ${here ? lasts : `left ${ago} ago`}`);
  const sure = make("span", { className: "sure" }, here && label !== null ? `${confidence} %` : "");
  element.append(make("div", { className: "who" }, swatch(label), make("b", {}, said(label)), sure, name));
  const band = draw("svg", { class: "band", role: "img" });
  const words = draw("svg", { class: "words", "aria-hidden": "true" });
  element.append(make("div", { className: "strip" }, band, words));
  return { element, band, words, track };
}

function drawStrip({ band, words, track }, now) {
  const { width, height } = band.getBoundingClientRect();
  const x = time => Math.max(0, width * (1 - (now - time) / hello.window));
  const y = confidence => height * (1 - (confidence / 100) * 0.94);
  const shares = new Map();
  let free = -Infinity;
  for (const run of runs(track, now)) {
    const [from, to] = [run.points[0][0], run.points.at(-1)[0]];
    shares.set(said(run.label), (shares.get(said(run.label)) ?? 0) + to - Math.max(from, now - hello.window));
    const line = run.points.map(([time, , sure]) => `${x(time).toFixed(1)},${y(run.label === null ? 12 : sure).toFixed(1)}`);
    const right = Math.max(x(to), x(from) + 1).toFixed(1);
    const area = `M${x(from).toFixed(1)},${height}L${line.join("L")}L${right},${height}Z`;
    band.append(draw("path", { class: `area ${colourOf(run.label)}`, d: area }));
    if (run.label !== null) band.append(draw("path", { class: "edge", d: `M${line.join("L")}` }));
    // A word stands where there is room for it: under its own stretch, and not over the one before.
    const start = Math.max(x(from), free);
    if (run.label === null || x(to) - start < widthOf(run.label) + 3) continue;
    words.append(draw("text", { x: (start + 1).toFixed(1), y: 15 }, run.label));
    free = start + widthOf(run.label) + 8;
  }
  const place = x(now - cursor);
  if (cursor !== null) band.append(draw("line", { class: "cursor", x1: place, x2: place, y1: 0, y2: height }));
  const parts = [...shares].sort((a, b) => b[1] - a[1]).map(([label, seconds]) => `${label} ${span(seconds)}`);
  band.setAttribute("aria-label", `Face ${track.id}: ${parts.join(", ")}`);
}

function drawAxis(now) {
  const axis = at("axis");
  const { width } = axis.getBoundingClientRect();
  const x = time => Math.max(0, width * (1 - (now - time) / hello.window));
  const parts = [];
  const line = (kind, from, to) => {
    parts.push(draw("line", { class: kind, x1: x(from), x2: Math.max(x(to), x(from) + 0.1), y1: 2, y2: 2 }));
  };
  const came = (from, to) => line("came", from, to);
  const missing = (from, to) => line("missing", from, to);
  let from = times[0];
  times.forEach((time, i) => {
    if (i && time - times[i - 1] > GAP) {
      came(from, times[i - 1]);
      missing(times[i - 1], time);
      from = time;
    }
  });
  const last = times.at(-1);
  if (last === undefined) missing(Math.max(0, now - hello.window), now);
  else {
    came(from, now - last > GAP ? last : now);
    if (now - last > GAP) missing(last, now);
  }
  for (const ago of width > 420 ? [120, 90, 60, 30, 0] : [120, 60, 0]) {
    const place = x(now - ago);
    const text = ago === 0 ? "now" : ago === hello.window ? "2 min ago" : `${ago} s`;
    const anchor = ago === 0 ? "end" : ago === hello.window ? "start" : "middle";
    parts.push(draw("line", { class: "tick", x1: place, x2: place, y1: 6, y2: 11 }));
    parts.push(draw("text", { x: place, y: 25, "text-anchor": anchor }, text));
  }
  axis.replaceChildren(...parts);
}

function show() {
  const now = deviceNow();
  const here = present();
  const words = sentence(here);
  write(at("present"), words);
  const title = `${words} · ${health?.device ?? "emotion-edge"}`;
  if (document.title !== title) document.title = title;
  if (!hello) return;
  const inside = track => track.points.at(-1)[0] > now - hello.window;
  const gone = [...tracks.values()].filter(track => !here.includes(track) && settled(track) && inside(track));
  gone.sort((a, b) => b.points.at(-1)[0] - a.points.at(-1)[0] || a.id - b.id);
  const all = [...here.map(track => [track, true]), ...gone.map(track => [track, false])];
  const lanes = all.slice(0, MOST_LANES).map(([track, there]) => lane(track, there, now));
  at("lanes").replaceChildren(...lanes.map(each => each.element));
  at("lanes").className = lanes.length > MANY_LANES ? "many" : "";
  at("empty").hidden = all.length > 0;
  at("timeline").classList.toggle("alone", all.length === 0);
  at("more").hidden = all.length <= MOST_LANES;
  write(at("more"), `and ${all.length - MOST_LANES} more`);
  for (const each of lanes) drawStrip(each, now);
  drawAxis(now);
  read(all.map(([track]) => track), now);
  showLink();
}

function read(shown, now) {
  if (cursor === null) return write(at("readout"), "Point at the time line, or walk through it with the arrow keys.");
  const time = now - cursor;
  const found = shown.flatMap(track => {
    const near = track.points.filter(point => Math.abs(point[0] - time) < 0.6);
    const [, label, sure] = near.sort((a, b) => Math.abs(a[0] - time) - Math.abs(b[0] - time))[0] ?? [];
    return label === undefined ? [] : [`Face ${track.id} ${said(label)}${label === null ? "" : ` ${sure} %`}`];
  });
  const pictures = times.some(each => Math.abs(each - time) < GAP);
  write(at("readout"), `${span(cursor)} ago: ${found.join(", ") || (pictures ? "nobody" : "no pictures")}`);
}

// ---- rates and health

function concerns() {
  const { stats, state, broker } = health ?? {};
  const problems = state?.problems ?? [];
  const bad = problems.map(problem => PROBLEMS[problem] ?? `${problem}: something is wrong.`);
  const doubt = [];
  if (state?.paused) doubt.push("Paused by a command; faces are not looked at.");
  else if (silent === null) doubt.push("No picture has come from the camera yet.");
  else if (silent > GAP && !problems.includes("camera")) doubt.push(`No picture for ${span(silent + deviceNow() - clock.now)}.`);
  if (stats?.throttled && !problems.includes("temperature")) doubt.push("The board slows itself down (heat or low voltage).");
  if (broker === false) doubt.push("The broker is not reached; events wait and are sent later.");
  else if (stats?.events.waiting > BACKLOG) doubt.push(`${number.format(stats.events.waiting)} events wait for the broker.`);
  return { bad, doubt };
}

function showLink() {
  const { bad, doubt } = concerns();
  const [tone, word] = lost
    ? ["bad", "No answer"]
    : health?.state?.paused
      ? ["doubt", "Paused"]
      : bad.length
        ? ["bad", "Trouble"]
        : doubt.length
          ? ["doubt", "Look here"]
          : ["good", "Live"];
  at("link").className = `chip ${tone}`;
  write(at("link"), word);
  const verdict = at("verdict");
  const lines = bad.length + doubt.length ? [...bad, ...doubt] : ["All is well."];
  verdict.className = `verdict ${bad.length ? "bad" : doubt.length ? "doubt" : "good"}`;
  const shown = [...verdict.children].map(each => each.textContent);
  if (shown.join() !== lines.join()) verdict.replaceChildren(...lines.map(line => make("p", {}, line)));
  const [first, last] = [ticks[0], ticks.at(-1)];
  const rate = last && last[0] - first[0] > 1 ? ((last[1] - first[1]) / (last[0] - first[0])).toFixed(1) : "–";
  if (at("fps")) write(at("fps"), rate);
  if (!health?.stats) return;
  const age = span(health.age + (performance.now() - healthAt) / 1000);
  write(at("measured"), `Frames per second are counted here; the other figures are ${age} old.`);
}

function tile(title, value, unit, says, id = null) {
  const figure = make("dd", {}, make("span", id ? { id } : {}, value), ...(unit ? [make("small", {}, ` ${unit}`)] : []));
  return make("div", {}, make("dt", {}, title), figure, make("dd", { className: "says" }, says));
}

function showHealth() {
  const { stats, state, model, broker } = health;
  const { latency, camera, events, shadow } = stats ?? {};
  const unknown = "not known yet";
  const whole = value => (value === null || value === undefined ? "–" : number.format(Math.round(value)));
  const once = count => (count === 1 ? "once" : `${number.format(count)} times`);
  const fps = camera ? `${camera.fps.toFixed(1)} come from the camera` : "worked through";
  const tail = latency ? `p95 ${whole(latency.p95)} ms, p99 ${whole(latency.p99)} ms` : unknown;
  const of = stats ? `of ${number.format(stats.frames + stats.frames_dropped)}; ${stats.queue} in the queue` : unknown;
  const sent = events ? `${number.format(events.published)} delivered, ${number.format(events.dropped)} lost` : unknown;
  const pace = { true: "slows itself down", false: "at full speed" }[stats?.throttled] ?? "throttling not told";
  const degrees = stats?.temperature ?? null;
  at("tiles").replaceChildren(
    tile("Frames per second", "–", "", fps, "fps"),
    tile("Latency, median", whole(latency?.p50), latency ? "ms" : "", tail),
    tile("Frames dropped", whole(stats?.frames_dropped), "", of),
    tile("Events waiting", whole(events?.waiting), "", sent),
    tile("Temperature", whole(degrees), degrees === null ? "" : "°C", pace),
    tile("Memory", whole(stats && stats.rss / 1e6), stats ? "MB" : "", "resident"),
  );
  const facts = [["Model", state?.model || model]];
  if (camera) facts.push(["Camera", `${camera.width} × ${camera.height}, opened again ${once(camera.reopened)}`]);
  if (broker !== null) facts.push(["Broker", broker ? "connected" : "not reached"]);
  if (stats) {
    const every = stats.every === 1 ? "every frame" : `one frame of ${stats.every}, followed between`;
    facts.push(["Faces", `looked for in ${every}`]);
    facts.push(["Running for", span(stats.uptime)], ["Parts restarted", number.format(stats.restarts)]);
  }
  facts.push(["Version", hello.version]);
  if (shadow) {
    const { agreement, faces, milliseconds, shadow_milliseconds: own } = shadow;
    const share = `agrees on ${(100 * agreement).toFixed(1)} % of ${number.format(faces)} faces`;
    const agrees = agreement === null ? "no face yet" : share;
    const times = milliseconds === null || own === null ? "" : `; ${own.toFixed(2)} ms beside ${milliseconds.toFixed(2)} ms`;
    facts.push(["Second model", `${shadow.model}: ${agrees}${times}`]);
  }
  at("facts").replaceChildren(...facts.map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value))));
  showLink();
}

// ---- the picture, where it is allowed

let looking = false;

async function look() {
  if (looking) return;
  looking = true;
  let shown = null;
  while (!lost && hello.pictures && !document.hidden) {
    let pause = calm.matches ? 1000 : 200;
    try {
      const answer = await ask("picture");
      if (answer.ok) {
        const address = URL.createObjectURL(await answer.blob());
        at("image").src = address;
        await at("image").decode();
        if (shown) URL.revokeObjectURL(shown);
        shown = address;
        drawBoxes(JSON.parse(answer.headers.get("X-Faces")));
      } else pause = 1000;
    } catch {
      pause = 1000;
    }
    await new Promise(done => setTimeout(done, pause));
  }
  looking = false;
}

function drawBoxes(faces) {
  const { clientWidth: width, clientHeight: height } = at("image");
  const parts = faces.flatMap(([id, label, , seen, x, y, side, roll]) => {
    const half = (side * width) / 2;
    const place = { x: x * width - half, y: y * height - half, width: 2 * half, height: 2 * half, rx: 6 };
    place.transform = `rotate(${(roll * 180) / Math.PI} ${x * width} ${y * height})`;
    const word = `${said(label)} · ${id}`;
    const room = 1.1 * widthOf(word) + 32;
    const left = Math.max(2, Math.min(x * width - half, width - room));
    const top = Math.min(Math.max(2, y * height + half + 5), height - 24);
    return [
      draw("rect", { class: "under", ...place }),
      draw("rect", { class: seen ? "box" : "box guess", ...place }),
      draw("rect", { class: "tag", x: left, y: top, width: room, height: 22, rx: 6 }),
      draw("rect", { class: colourOf(label), x: left + 7, y: top + 6, width: 10, height: 10, rx: 2 }),
      draw("text", { x: left + 23, y: top + 15.5 }, word),
    ];
  });
  at("boxes").replaceChildren(...parts);
  const marked = faces.length === 1 ? "one face marked" : faces.length ? `${faces.length} faces marked` : "nobody in it";
  at("image").alt = `The camera's picture, ${marked}`;
}

// ---- the connection

let source = null;
let delay = 1;
let timer = 0;
let quieten = 0;

function notice(text, seconds = 0) {
  clearTimeout(quieten);
  write(at("notice"), text);
  at("notice").hidden = !text;
  if (seconds) quieten = setTimeout(() => notice(""), 1000 * seconds);
}

function connect() {
  clearTimeout(timer);
  source?.close();
  heard = performance.now();
  source = new EventSource("events");
  source.addEventListener("hello", event => {
    delay = 1;
    greet(JSON.parse(event.data));
  });
  source.addEventListener("health", event => learn(JSON.parse(event.data)));
  source.addEventListener("tick", event => {
    const message = JSON.parse(event.data);
    tell(message);
    take(message.samples);
  });
  source.onerror = () => lose();
}

async function lose() {
  if (!source) return;
  source.close();
  source = null;
  clock = { now: deviceNow(), at: performance.now() };
  lost = true;
  document.body.classList.add("lost");
  show();
  // An EventSource does not tell why; a question for the head alone does.
  const status = await ask("events", "HEAD").then(answer => answer.status, () => 0);
  if (status === 503) notice("As many pages as the device can serve look at it already. Trying again…");
  else if (status === 401) notice("The token is not known any more: open this page with /?token= and the new one once.");
  else notice("The device does not answer. Trying again…");
  clearTimeout(timer);
  timer = setTimeout(connect, 1000 * delay);
  delay = Math.min(2 * delay, 8);
}

// ---- the past, by pointer and by keys

function point(ago) {
  cursor = ago === null ? null : Math.min(Math.max(ago, 0), hello?.window ?? 0);
  show();
}

at("timeline").addEventListener("pointermove", event => {
  const { left, width } = at("axis").getBoundingClientRect();
  if (hello && event.clientX >= left) point(hello.window * (1 - (event.clientX - left) / width));
});
at("timeline").addEventListener("pointerleave", () => point(null));
at("timeline").addEventListener("blur", () => point(null));
at("timeline").addEventListener("keydown", event => {
  const step = { ArrowLeft: 1, ArrowRight: -1, PageUp: 10, PageDown: -10 }[event.key];
  if (step) point((cursor ?? 0) + step);
  else if (event.key === "Home") point(hello?.window ?? 0);
  else if (event.key === "Escape" || event.key === "End") point(null);
  else return;
  event.preventDefault();
});

// ---- the beginning

// The token has become a cookie; it must not stand in the address, where others read it over a shoulder.
if (location.search) history.replaceState(null, "", location.pathname);
makePatterns();
connect();
let turn = 0;
setInterval(() => {
  turn += 1;
  if (source && performance.now() - heard > 1000 * SILENCE) lose();
  if (!lost && !document.hidden && (turn % 4 === 0 || !calm.matches)) show();
}, 250);
addEventListener("resize", () => show());

// A page in the background costs the device nothing.
let leaving = 0;
document.addEventListener("visibilitychange", () => {
  clearTimeout(leaving);
  if (!document.hidden) {
    if (source) look();
    else connect();
  } else {
    leaving = setTimeout(() => {
      clearTimeout(timer);
      source?.close();
      source = null;
      lost = true;
    }, 15000);
  }
});
