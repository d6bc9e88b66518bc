const root = document.documentElement;
document.getElementById("theme").onclick = () => {
  const system = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  root.dataset.theme = (root.dataset.theme || system) === "dark" ? "light" : "dark";
};

const search = document.getElementById("search");
if (search) {
  const buttons = [...document.querySelectorAll("button[data-view]")];
  const posts = [...document.querySelectorAll("article")].map((node) => ({
    node, views: node.dataset.views.split(" "), text: node.textContent.toLowerCase(),
  }));
  let view = buttons[0].dataset.view;
  const show = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    for (const { node, views, text } of posts) {
      node.hidden = !((view === "all" || views.includes(view)) && words.every((word) => text.includes(word)));
      count += !node.hidden;
    }
    document.getElementById("count").textContent = count === 1 ? "1 post" : `${count} posts`;
    for (const button of buttons) button.setAttribute("aria-pressed", button.dataset.view === view);
  };
  for (const button of buttons) button.onclick = () => { view = button.dataset.view; show(); };
  search.oninput = () => { if (search.value) view = "all"; show(); };
  show();
}
