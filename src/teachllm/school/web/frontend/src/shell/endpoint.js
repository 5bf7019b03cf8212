/** Settings: the endpoint that answers. Saved, then tried out at once; the key is sent once and not kept in the page. */
import { call } from "../core/api.js";
import { fill, h } from "../core/dom.js";
import { t } from "../core/strings.js";

export function enableEndpoint() {
  const form = /** @type {HTMLFormElement|null} */ (document.querySelector("form[data-endpoint]"));
  if (!form) return;
  const said = form.querySelector("[data-endpoint-said]");
  const remove = /** @type {HTMLButtonElement} */ (form.querySelector("[data-endpoint-remove]"));
  const key = /** @type {HTMLInputElement} */ (form.elements.namedItem("key"));
  const field = (name) => /** @type {HTMLInputElement} */ (form.elements.namedItem(name)).value;
  const busy = (on) => { for (const button of form.querySelectorAll("button")) button.disabled = on; };

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    busy(true);
    try {
      const { endpoint } = await call("PUT", "/api/endpoint", { url: field("url"), model: field("model"), key: key.value });
      key.value = "";
      key.placeholder = endpoint.key_ends_in === null ? t("endpoint.no-key") : t("endpoint.key", { tail: endpoint.key_ends_in });
      remove.hidden = false;
      fill(said, h("p.state", null, t("endpoint.trying")));
      const { trials } = await call("POST", "/api/endpoint/test", {});
      fill(said, h("ul.trials", null, trials.map((one) => h("li", { class: one.passed ? "yes" : "no" },
        h("b", null, `${one.passed ? "✓" : "✗"} ${t(`endpoint.trial.${one.name}`)}`), ` ${one.message}`))));
    } catch (error) {
      fill(said, h("p.problem", { role: "alert" }, error.message));
    } finally {
      busy(false);
    }
  });
  remove.addEventListener("click", async () => {
    try {
      await call("DELETE", "/api/endpoint");
      form.querySelectorAll("input").forEach((input) => { input.value = ""; });
      key.placeholder = t("endpoint.no-key");
      remove.hidden = true;
      fill(said, h("p.state", null, t("endpoint.removed")));
    } catch (error) {
      fill(said, h("p.problem", { role: "alert" }, error.message));
    }
  });
}
