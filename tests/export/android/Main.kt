import android.content.Context
import android.graphics.Bitmap
import mmzoo.Mmzoo

fun main(arguments: Array<String>) {
    val grid = arrayOf(floatArrayOf(1f, 2f, 3f), floatArrayOf(4f, 5f, 6f))
    val numbers = floatArrayOf(1f, 2f, 3f, 4f)
    Mmzoo(Context(arguments[0])).use { model ->
        println(model.labels.joinToString(","))
        val all = model.predict(Bitmap(5, 7), "né", floatArrayOf(0.25f, -1f, 1f), grid, numbers, 7)
        println("${all.probability.size} ${all.chance[0]}")
        model.predict(text = "", grid = grid, numbers = numbers, id = 7)
        model.predict(audio = floatArrayOf(), grid = grid, numbers = numbers, id = 7)
    }
}
