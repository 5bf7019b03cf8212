/** Server-sent events, cut wherever the network cut them, as JSON objects. */

/** Collects pieces of an event stream; each call returns the JSON of the events that are complete. */
export function eventParser() {
  let rest = "";
  return (piece) => {
    const blocks = (rest + piece).split(/\r?\n\r?\n/);
    rest = blocks.pop() ?? "";
    const events = [];
    for (const block of blocks) {
      const data = block.split(/\r?\n/).filter((line) => line.startsWith("data:")).map((line) => line.slice(5).trimStart());
      if (data.length) events.push(JSON.parse(data.join("\n")));
    }
    return events;
  };
}
