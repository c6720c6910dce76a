// How Sphinx's search ranks what it finds: pages whose title has the words first, the reference last.
var Scorer = {
  score: ([docname, title, , , score]) => {
    const asked = new URLSearchParams(location.search).get("q")?.toLowerCase().trim();
    const named = asked && title.toLowerCase().includes(asked) ? 50 : 0;
    return score + named - (docname.startsWith("nbs/reference/") ? 25 : 0);
  },
  objNameMatch: 11,
  objPartialMatch: 6,
  objPrio: { 0: 15, 1: 5, 2: -5 },
  objPrioDefault: 0,
  title: 15,
  partialTitle: 7,
  term: 5,
  partialTerm: 2,
};
